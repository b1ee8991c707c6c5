/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/read_ahead.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/config.h"
#include "agent/guest/fault.h"
#include "agent/guest/paths.h"
#include "common/open_inside.h"

enum {
    STEP_BYTES = 128 << 10, /* the kernel cuts a longer request to what the disk reads at once */
    SEGMENTS_MAX = 32,
    DYNAMIC_MAX = 128,
    SCRIPTS_MAX = 2, /* an interpreter may be a script itself */
};

static const char *const library_directories[] = {
#if defined __x86_64__
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
#elif defined __aarch64__
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
#endif
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
};

/* ---- files of the rootfs ---- */

/* A device is not opened, for that may have an effect. */
static int open_regular(int rootfs_fd, const char *path, uint64_t *ret_size)
{
    int place = open_inside(rootfs_fd, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    struct stat status;
    char name[32];
    int fd = -1;

    if (place < 0)
        return -1;
    snprintf(name, sizeof name, "/proc/self/fd/%d", place);
    if (fstat(place, &status) == 0 && S_ISREG(status.st_mode) && (fd = open(name, O_RDONLY | O_CLOEXEC)) >= 0)
        *ret_size = (uint64_t)status.st_size;
    close(place);
    return fd;
}

static void read_ahead(ReadAheadFiles *files, int fd, uint64_t size)
{
    const uint64_t left = READ_AHEAD_BYTES - files->n_bytes;
    uint64_t length = size < READ_AHEAD_FILE_BYTES ? size : READ_AHEAD_FILE_BYTES;

    length = length < left ? length : left;
    for (uint64_t at = 0; at < length; at += STEP_BYTES)
        posix_fadvise(fd, (off_t)at, STEP_BYTES, POSIX_FADV_WILLNEED);
    files->n_bytes += length;
}

/* Return: the descriptor, which the list owns; -1 when there is no such file, or no room. */
static int add_file(ReadAheadFiles *files, int rootfs_fd, const char *path)
{
    uint64_t size = 0;
    int fd = files->n_files < READ_AHEAD_FILES ? open_regular(rootfs_fd, path, &size) : -1;

    if (fd < 0)
        return -1;
    files->fds[files->n_files++] = fd;
    read_ahead(files, fd, size);
    return fd;
}

static bool read_at(int fd, uint64_t offset, void *buffer, size_t length)
{
    return offset <= INT64_MAX && pread(fd, buffer, length, (off_t)offset) == (ssize_t)length;
}

/* Reads a text that ends with a NUL. */
static bool read_text(int fd, uint64_t offset, char *ret_text, size_t room)
{
    ssize_t n = offset <= INT64_MAX ? pread(fd, ret_text, room, (off_t)offset) : -1;

    return n > 0 && memchr(ret_text, '\0', (size_t)n) != NULL && ret_text[0] != '\0';
}

/* ---- ELF ---- */

typedef struct {
    ReadAheadFiles *files;
    int rootfs_fd;
    int fd; /* the program */
    Elf64_Phdr segments[SEGMENTS_MAX];
    size_t n_segments;
} Program;

static bool program_load(Program *program)
{
    Elf64_Ehdr header;

    if (!read_at(program->fd, 0, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr) ||
        header.e_phnum > SEGMENTS_MAX)
        return false;
    program->n_segments = header.e_phnum;
    return read_at(program->fd, header.e_phoff, program->segments, program->n_segments * sizeof(Elf64_Phdr));
}

static const Elf64_Phdr *program_segment(const Program *program, uint32_t type)
{
    for (size_t i = 0; i < program->n_segments; i++)
        if (program->segments[i].p_type == type)
            return &program->segments[i];
    return NULL;
}

/* Where the file has what is at that address in memory. */
static bool program_offset(const Program *program, uint64_t address, uint64_t *ret_offset)
{
    for (size_t i = 0; i < program->n_segments; i++) {
        const Elf64_Phdr *segment = &program->segments[i];

        if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
            address - segment->p_vaddr < segment->p_filesz) {
            *ret_offset = segment->p_offset + (address - segment->p_vaddr);
            return true;
        }
    }
    return false;
}

static void add_library(const Program *program, const char *name)
{
    char path[PATH_MAX];

    if (strchr(name, '/') != NULL) {
        add_file(program->files, program->rootfs_fd, name);
        return;
    }
    for (size_t i = 0; i < sizeof library_directories / sizeof *library_directories; i++) {
        snprintf(path, sizeof path, "%s/%s", library_directories[i], name);
        if (add_file(program->files, program->rootfs_fd, path) >= 0)
            return;
    }
}

static void add_libraries(const Program *program)
{
    const Elf64_Phdr *segment = program_segment(program, PT_DYNAMIC);
    Elf64_Dyn entries[DYNAMIC_MAX];
    size_t n = segment != NULL ? segment->p_filesz / sizeof *entries : 0;
    uint64_t names = 0, offset = 0;
    char name[NAME_MAX + 1];

    n = n < DYNAMIC_MAX ? n : DYNAMIC_MAX;
    if (n == 0 || !read_at(program->fd, segment->p_offset, entries, n * sizeof *entries))
        return;
    for (size_t i = 0; i < n; i++)
        if (entries[i].d_tag == DT_STRTAB)
            names = entries[i].d_un.d_ptr;
    if (!program_offset(program, names, &offset))
        return;
    for (size_t i = 0; i < n && entries[i].d_tag != DT_NULL; i++)
        if (entries[i].d_tag == DT_NEEDED && entries[i].d_un.d_val <= UINT32_MAX &&
            read_text(program->fd, offset + entries[i].d_un.d_val, name, sizeof name))
            add_library(program, name);
}

static void add_elf(ReadAheadFiles *files, int rootfs_fd, int fd)
{
    Program program = {.files = files, .rootfs_fd = rootfs_fd, .fd = fd};
    char loader[PATH_MAX];

    if (!program_load(&program))
        return;
    const Elf64_Phdr *segment = program_segment(&program, PT_INTERP);
    if (segment != NULL && read_text(fd, segment->p_offset, loader, sizeof loader))
        add_file(files, rootfs_fd, loader);
    add_libraries(&program);
}

/* ---- the program ---- */

/* The name after "#!". */
static bool read_interpreter(int fd, char *ret_name, size_t room)
{
    char line[PATH_MAX];
    ssize_t n = pread(fd, line, sizeof line - 1, 0);

    if (n < 3 || line[0] != '#' || line[1] != '!')
        return false;
    line[n] = '\0';
    const char *name = line + 2 + strspn(line + 2, " \t");
    size_t length = strcspn(name, " \t\r\n");
    snprintf(ret_name, room, "%.*s", (int)length, name);
    return length > 0 && length < room;
}

static void add_program(ReadAheadFiles *files, int rootfs_fd, const char *path)
{
    int fd = add_file(files, rootfs_fd, path);
    char interpreter[PATH_MAX];

    for (int i = 0; i < SCRIPTS_MAX && fd >= 0 && read_interpreter(fd, interpreter, sizeof interpreter); i++)
        fd = add_file(files, rootfs_fd, interpreter);
    if (fd >= 0)
        add_elf(files, rootfs_fd, fd);
}

/* Looks for the program in each directory of PATH, as crun does. */
static void add_by_path(ReadAheadFiles *files, int rootfs_fd, const char *directories, const char *name)
{
    char path[2 * PATH_MAX];

    while (*directories != '\0' && files->n_files == 0) {
        size_t length = strcspn(directories, ":");

        snprintf(path, sizeof path, "%.*s/%s", (int)length, directories, name);
        add_program(files, rootfs_fd, path);
        directories += length + (directories[length] == ':');
    }
}

/* Return: whether the environment has a PATH. */
static bool decode_path(JsonSpan process, char *ret_path, size_t room)
{
    JsonMembers variables = {.at = 0};
    JsonSpan value;

    if (!json_find(process, "env", &variables.object))
        return false;
    while (json_next_element(&variables, &value))
        if (value.length > 6 && memcmp(value.text, "\"PATH=", 6) == 0 &&
            json_decode_string(value, ret_path, room)) {
            memmove(ret_path, ret_path + 5, strlen(ret_path + 5) + 1);
            return true;
        }
    return false;
}

void read_ahead_find(int rootfs_fd, JsonSpan config, ReadAheadFiles *ret_files)
{
    JsonSpan process, directory, value;
    JsonMembers arguments = {.at = 0};
    char name[PATH_MAX], text[PATH_MAX], path[2 * PATH_MAX];

    *ret_files = (ReadAheadFiles){.n_files = 0};
    if (!json_find(config, "process", &process) || !json_find(process, "args", &arguments.object) ||
        !json_next_element(&arguments, &value) || !json_decode_string(value, name, sizeof name) ||
        name[0] == '\0')
        return;
    if (strchr(name, '/') == NULL) {
        if (decode_path(process, text, sizeof text))
            add_by_path(ret_files, rootfs_fd, text, name);
    } else if (name[0] == '/') {
        add_program(ret_files, rootfs_fd, name);
    } else if (json_find(process, "cwd", &directory) && json_decode_string(directory, text, sizeof text)) {
        snprintf(path, sizeof path, "%s/%s", text, name);
        add_program(ret_files, rootfs_fd, path);
    }
}

void read_ahead_close(ReadAheadFiles *files)
{
    while (files->n_files > 0)
        close(files->fds[--files->n_files]);
}

void read_ahead_container(const char *id)
{
    JsonText config = {NULL, 0, 0, false};
    ReadAheadFiles files;
    char path[256];
    Fault ignored;

    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/rootfs", id);
    int rootfs_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rootfs_fd >= 0 && config_read(id, &config, &ignored)) {
        read_ahead_find(rootfs_fd, (JsonSpan){config.text, config.length}, &files);
        read_ahead_close(&files);
    }
    free(config.text);
    if (rootfs_fd >= 0)
        close(rootfs_fd);
}
