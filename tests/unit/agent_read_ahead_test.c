/* SPDX-License-Identifier: Apache-2.0 */
/* Which files of a rootfs are read ahead for a program. The rootfs is a directory of the test. */
#include "agent/guest/read_ahead.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/harness.h"

typedef struct {
    Elf64_Ehdr header;
    Elf64_Phdr segments[3];
    char loader[32];
    Elf64_Dyn dynamic[4];
    char names[32];
} Elf;

static char *place;
static int rootfs_fd;

static void put(const char *path, const void *content, gsize length)
{
    g_autofree char *full = g_build_filename(place, path, NULL);
    g_autofree char *directory = g_path_get_dirname(full);

    CU_ASSERT_EQUAL(g_mkdir_with_parents(directory, 0755), 0);
    CU_ASSERT_TRUE(g_file_set_contents(full, content, (gssize)length, NULL));
}

static void put_text(const char *path, const char *text)
{
    put(path, text, strlen(text));
}

/* A program with the loader /lib64/ld.so and the library libx.so. */
static Elf dynamic_program(void)
{
    enum { NAMES_AT = 0x400000 };
    Elf elf = {.header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
                          .e_phoff = offsetof(Elf, segments),
                          .e_phentsize = sizeof(Elf64_Phdr),
                          .e_phnum = 3},
               .loader = "/lib64/ld.so",
               .dynamic = {{DT_NEEDED, {1}},
                           {DT_STRTAB, {NAMES_AT + offsetof(Elf, names)}},
                           {DT_STRSZ, {sizeof elf.names}}},
               .names = "\0libx.so"};

    elf.segments[0] = (Elf64_Phdr){
        .p_type = PT_INTERP, .p_offset = offsetof(Elf, loader), .p_filesz = sizeof "/lib64/ld.so"};
    elf.segments[1] = (Elf64_Phdr){.p_type = PT_LOAD, .p_vaddr = NAMES_AT, .p_filesz = sizeof elf};
    elf.segments[2] = (Elf64_Phdr){
        .p_type = PT_DYNAMIC, .p_offset = offsetof(Elf, dynamic), .p_filesz = sizeof elf.dynamic};
    return elf;
}

static void prepare(void)
{
    const Elf elf = dynamic_program();

    place = test_directory();
    rootfs_fd = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(rootfs_fd >= 0);
    put("bin/prog", &elf, sizeof elf);
    put_text("lib64/ld.so", "loader");
    put_text("usr/lib/libx.so", "library");
    put_text("opt/run.sh", "#! /bin/prog -e\n");
}

static void leave(void)
{
    close(rootfs_fd);
    g_free(place);
}

/* paths: those of the files that are expected, in their order, with a comma after each. */
static void expect(const char *process, const char *paths)
{
    g_autofree char *config = g_strdup_printf("{\"process\":{%s}}", process);
    g_autoptr(GString) found = g_string_new("");
    ReadAheadFiles files;

    read_ahead_find(rootfs_fd, (JsonSpan){config, strlen(config)}, &files);
    for (unsigned i = 0; i < files.n_files; i++) {
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", files.fds[i]);
        g_autofree char *target = g_file_read_link(link, NULL);

        CU_ASSERT_TRUE_FATAL(target != NULL && g_str_has_prefix(target, place));
        g_string_append_printf(found, "%s,", target + strlen(place));
    }
    read_ahead_close(&files);
    if (strcmp(found->str, paths) != 0)
        g_printerr("%s: %s\n", process, found->str);
    CU_ASSERT_STRING_EQUAL(found->str, paths);
}

#define PROGRAM "/bin/prog,/lib64/ld.so,/usr/lib/libx.so,"

static void a_program_is_read_with_its_loader_and_libraries(void)
{
    prepare();
    expect("\"args\":[\"/bin/prog\"]", PROGRAM);
    leave();
}

static void a_program_is_found_as_crun_finds_it(void)
{
    prepare();
    expect("\"args\":[\"prog\",\"x\"],\"env\":[\"A=b\",\"PATH=/sbin:/bin\"]", PROGRAM);
    expect("\"args\":[\"./prog\"],\"cwd\":\"/bin\"", PROGRAM);
    expect("\"args\":[\"prog\"]", "");
    expect("\"args\":[\"nothere\"],\"env\":[\"PATH=/bin\"]", "");
    expect("\"args\":[\"\"]", "");
    expect("\"args\":[]", "");
    leave();
}

static void a_script_is_read_with_its_interpreter(void)
{
    prepare();
    expect("\"args\":[\"/opt/run.sh\"]", "/opt/run.sh," PROGRAM);
    put_text("loop", "#!/loop\n");
    expect("\"args\":[\"/loop\"]", "/loop,/loop,/loop,");
    leave();
}

static void links_stay_inside_the_rootfs(void)
{
    g_autofree char *link = NULL;

    prepare();
    link = g_build_filename(place, "up", NULL);
    CU_ASSERT_EQUAL(symlink("../../../../../../bin/prog", link), 0);
    expect("\"args\":[\"/up\"]", PROGRAM);
    leave();
}

static void only_regular_files_are_opened(void)
{
    g_autofree char *fifo = NULL;

    prepare();
    fifo = g_build_filename(place, "fifo", NULL);
    CU_ASSERT_EQUAL(mkfifo(fifo, 0755), 0);
    expect("\"args\":[\"/fifo\"]", "");
    expect("\"args\":[\"/bin\"]", "");
    leave();
}

static void a_container_has_a_limit_of_bytes(void)
{
    enum { N_LIBRARIES = 3, HUGE_BYTES = 1 << 30 };
    Elf elf = dynamic_program();
    static const char config[] = "{\"process\":{\"args\":[\"/bin/prog\"]}}";
    ReadAheadFiles files;

    prepare();
    for (int i = 0; i < N_LIBRARIES; i++)
        elf.dynamic[i == 0 ? 0 : i + 1] = (Elf64_Dyn){DT_NEEDED, {1}};
    put("bin/prog", &elf, sizeof elf);
    for (const char *const *path = (const char *const[]){"bin/prog", "lib64/ld.so", "usr/lib/libx.so", NULL};
         *path != NULL; path++) {
        g_autofree char *full = g_build_filename(place, *path, NULL);

        CU_ASSERT_EQUAL(truncate(full, HUGE_BYTES), 0);
    }
    read_ahead_find(rootfs_fd, (JsonSpan){config, sizeof config - 1}, &files);
    CU_ASSERT_EQUAL(files.n_files, 2 + N_LIBRARIES);
    CU_ASSERT_EQUAL(files.n_bytes, READ_AHEAD_BYTES);
    read_ahead_close(&files);
    leave();
}

static void a_damaged_program_is_read_alone(void)
{
    Elf elf;

    prepare();
    elf = dynamic_program();
    elf.header.e_phoff = G_MAXUINT64 - 8;
    put("bin/prog", &elf, sizeof elf);
    expect("\"args\":[\"/bin/prog\"]", "/bin/prog,");
    elf = dynamic_program();
    elf.segments[0].p_offset = sizeof elf - 1;
    elf.segments[1].p_filesz = 0;
    put("bin/prog", &elf, sizeof elf);
    expect("\"args\":[\"/bin/prog\"]", "/bin/prog,");
    elf = dynamic_program();
    elf.dynamic[0].d_un.d_val = UINT32_MAX;
    elf.segments[1].p_offset = G_MAXUINT64 - 4;
    put("bin/prog", &elf, sizeof elf);
    expect("\"args\":[\"/bin/prog\"]", "/bin/prog,/lib64/ld.so,");
    put("bin/prog", &elf, sizeof elf.header - 1);
    expect("\"args\":[\"/bin/prog\"]", "/bin/prog,");
    leave();
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a program is read with its loader and its libraries",
         a_program_is_read_with_its_loader_and_libraries},
        {"a program is found as crun finds it", a_program_is_found_as_crun_finds_it},
        {"a script is read with its interpreter", a_script_is_read_with_its_interpreter},
        {"links stay inside the rootfs", links_stay_inside_the_rootfs},
        {"only regular files are opened", only_regular_files_are_opened},
        {"a container has a limit of bytes", a_container_has_a_limit_of_bytes},
        {"a damaged program is read alone", a_damaged_program_is_read_alone},
    };

    return test_main_args("read ahead", cases, G_N_ELEMENTS(cases), argc, argv);
}
