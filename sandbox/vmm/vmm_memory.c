/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/vmm_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json_writer.h"
#include "common/page_digest.h"
#include "sandbox/vmm/vmm_private.h"

enum { PARTS_MAX = 1024, MAPS_MAX_BYTES = 16 << 20 };

#define HEADER "begin end" /* of the text of parts, so that it is never empty */

/* Q35 has memory at its place in the file below this address, however much there is. */
#define PARTS_END ((guint64)2 << 30)

/* crivirt's QEMU has this command (deploy/qemu/patches/ram-template.patch). */
#define MAP_COMMAND "x-ram-map-private"
#define FILE_NAME "template"
#define GIVE_FD "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"" FILE_NAME "\"}}"
#define LIST_COMMANDS "{\"execute\":\"query-commands\"}"

/* ---- the shared files ---- */

static void memory_clear(gpointer data)
{
    VmmMemory *memory = data;

    close(memory->fd);
    g_array_unref(memory->parts);
}

static gint memory_compare(gconstpointer a, gconstpointer b)
{
    return ((const VmmMemory *)a)->number - ((const VmmMemory *)b)->number;
}

/* Return: FALSE when the descriptor is no memory of the guest, or has been closed. */
static gboolean memory_open(pid_t pid, const char *entry, int flags, VmmMemory *ret_memory)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd/%s", (int)pid, entry);
    g_autofree char *target = g_file_read_link(path, NULL);
    VmmMemory memory = {.number = (int)g_ascii_strtoll(entry, NULL, 10)};
    struct stat status;

    if (target == NULL || !g_str_has_prefix(target, "/memfd:memory-backend-memfd"))
        return FALSE;
    memory.fd = open(path, flags | O_CLOEXEC);
    if (memory.fd < 0)
        return FALSE;
    if (fstat(memory.fd, &status) != 0) {
        close(memory.fd);
        return FALSE;
    }
    memory.bytes = (gsize)status.st_size;
    memory.parts = g_array_new(FALSE, FALSE, sizeof(MemoryPart));
    *ret_memory = memory;
    return TRUE;
}

/* ---- where QEMU has mapped them ---- */

typedef struct {
    guint64 begin, end, offset;
    dev_t device;
    guint64 inode;
} Mapping;

/* Reads a number in the base, and the character behind it. *line: where it is; behind that afterwards. */
static gboolean take_number(const char **line, guint base, char behind, guint64 *ret_number)
{
    char *end = NULL;

    *ret_number = g_ascii_strtoull(*line, &end, base);
    if (end == *line || *end != behind)
        return FALSE;
    *line = end + 1;
    return TRUE;
}

/* A line of /proc/PID/maps: "7f00-7f10 rw-s 00000000 00:01 1234 /memfd:name (deleted)" (proc_pid_maps(5)). */
static gboolean mapping_read(const char *line, Mapping *ret_mapping)
{
    guint64 begin, end, offset, major_number, minor_number, inode;

    if (!take_number(&line, 16, '-', &begin) || !take_number(&line, 16, ' ', &end))
        return FALSE;
    line += strcspn(line, " "); /* the permissions */
    if (!take_number(&line, 16, ' ', &offset) || !take_number(&line, 16, ':', &major_number) ||
        !take_number(&line, 16, ' ', &minor_number))
        return FALSE;
    inode = g_ascii_strtoull(line, NULL, 10);
    *ret_mapping = (Mapping){begin, end, offset, makedev((guint)major_number, (guint)minor_number), inode};
    return TRUE;
}

static gboolean mapping_is_of(const Mapping *mapping, const VmmMemory *memory)
{
    struct stat status;

    return fstat(memory->fd, &status) == 0 && status.st_ino == mapping->inode &&
           status.st_dev == mapping->device;
}

static gboolean memory_find_address(VmmMemory *memory, const GArray *mappings)
{
    for (guint i = 0; i < mappings->len; i++) {
        const Mapping *mapping = &g_array_index(mappings, Mapping, i);

        if (!mapping_is_of(mapping, memory))
            continue;
        if (memory->address == 0)
            memory->address = mapping->begin - mapping->offset;
        else if (memory->address != mapping->begin - mapping->offset)
            return FALSE;
    }
    return TRUE;
}

static void memory_add_part(VmmMemory *memory, guint64 begin, guint64 end)
{
    MemoryPart *last =
        memory->parts->len > 0 ? &g_array_index(memory->parts, MemoryPart, memory->parts->len - 1) : NULL;
    const MemoryPart part = {begin, end};

    if (last != NULL && last->end == begin)
        last->end = end;
    else
        g_array_append_val(memory->parts, part);
}

static void memory_find_parts(VmmMemory *memory, const GArray *mappings)
{
    const guint64 limit = memory->address + memory->bytes;

    for (guint i = 0; memory->address != 0 && i < mappings->len; i++) {
        const Mapping *mapping = &g_array_index(mappings, Mapping, i);
        const guint64 begin = MAX(mapping->begin, memory->address);
        const guint64 end = MIN(mapping->end, limit);

        if (begin < end && !mapping_is_of(mapping, memory))
            memory_add_part(memory, begin - memory->address, end - memory->address);
    }
}

gboolean vmm_memory_find(GArray *memories, const char *maps)
{
    g_autoptr(GArray) mappings = g_array_new(FALSE, FALSE, sizeof(Mapping));
    g_auto(GStrv) lines = g_strsplit(maps, "\n", -1);
    gboolean good = TRUE;

    for (guint i = 0; lines[i] != NULL; i++) {
        Mapping mapping;

        if (mapping_read(lines[i], &mapping))
            g_array_append_val(mappings, mapping);
    }
    for (guint i = 0; good && i < memories->len; i++) {
        VmmMemory *memory = &g_array_index(memories, VmmMemory, i);

        good = memory_find_address(memory, mappings);
        memory_find_parts(memory, mappings);
    }
    return good;
}

gboolean vmm_memory_locate(Vmm *vmm, const char *name, GArray *memories, GError **error)
{
    pid_t pid = vmm_pid(vmm, name);
    g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)pid);
    g_autofree char *maps = NULL;

    if (!file_read(path, MAPS_MAX_BYTES, &maps, NULL, error))
        return FALSE;
    return vmm_memory_find(memories, maps) ||
           fail(error, STATUS_INTERNAL, "QEMU (process %d) has the guest's memory at two places", (int)pid);
}

GArray *vmm_memory_open(Vmm *vmm, const char *name, int flags, gsize *ret_bytes, GError **error)
{
    pid_t pid = vmm_pid(vmm, name);
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)pid);
    g_autoptr(GArray) memories = g_array_new(FALSE, FALSE, sizeof(VmmMemory));
    g_autoptr(GDir) directory = pid != 0 ? g_dir_open(path, 0, NULL) : NULL;
    const char *entry;

    g_array_set_clear_func(memories, memory_clear);
    *ret_bytes = 0;
    while (directory != NULL && (entry = g_dir_read_name(directory)) != NULL) {
        VmmMemory memory;

        if (!memory_open(pid, entry, flags, &memory))
            continue;
        *ret_bytes += memory.bytes;
        g_array_append_val(memories, memory);
    }
    if (memories->len == 0) {
        fail(error, STATUS_INTERNAL, "cannot find the guest's memory in QEMU (process %d)", (int)pid);
        return NULL;
    }
    g_array_sort(memories, memory_compare);
    return g_steal_pointer(&memories);
}

int vmm_memory_open_process(Vmm *vmm, const char *name, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/mem", (int)vmm_pid(vmm, name));
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        fail_errno(error, errno, "cannot open %s", path);
    return fd;
}

GArray *vmm_memory_private_parts(Vmm *vmm, const char *name, GError **error)
{
    gsize bytes;
    g_autoptr(GArray) memories = vmm_memory_open(vmm, name, O_RDONLY, &bytes, error);

    if (memories == NULL || !vmm_memory_locate(vmm, name, memories, error))
        return NULL;
    return g_array_ref(g_array_index(memories, VmmMemory, 0).parts);
}

/* ---- mapping parts privately ---- */

static gboolean has_command(const JsonDocument *reply, const char *command)
{
    const JsonValue *commands = json_member(json_document_root(reply), "return");

    for (gsize i = 0; i < json_length(commands); i++) {
        static const char *const name[] = {"name", NULL};

        if (g_strcmp0(json_find_string(json_at(commands, i), name), command) == 0)
            return TRUE;
    }
    return FALSE;
}

/* All VMs of a daemon have the same QEMU: the first one is asked. */
static gboolean can_map(Vmm *vmm, const char *name, gboolean *ret_can, GError **error)
{
    if (g_atomic_int_get(&vmm->maps_privately) == MAPS_UNKNOWN) {
        g_autoptr(JsonDocument) reply = NULL;

        if (!vmm_command(vmm, name, LIST_COMMANDS, -1, &reply, error))
            return FALSE;
        g_atomic_int_set(&vmm->maps_privately, has_command(reply, MAP_COMMAND) ? MAPS_YES : MAPS_NO);
    }
    *ret_can = g_atomic_int_get(&vmm->maps_privately) == MAPS_YES;
    return TRUE;
}

static char *map_command(const GArray *parts)
{
    g_autoptr(JsonWriter) json = json_writer_new();

    json_writer_open_object(json, NULL);
    json_writer_string(json, "execute", MAP_COMMAND);
    json_writer_open_object(json, "arguments");
    json_writer_string(json, "fdname", FILE_NAME);
    json_writer_open_array(json, "ranges");
    for (guint i = 0; i < parts->len; i++) {
        const MemoryPart *part = &g_array_index(parts, MemoryPart, i);

        json_writer_open_object(json, NULL);
        json_writer_int(json, "offset", (gint64)part->begin);
        json_writer_int(json, "length", (gint64)(part->end - part->begin));
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
    json_writer_close_object(json);
    json_writer_close_object(json);
    return json_writer_copy(json);
}

gboolean vmm_memory_map(Vmm *vmm, const char *name, int fd, const GArray *parts, gboolean *ret_done,
                        GError **error)
{
    g_autofree char *command = NULL;

    *ret_done = FALSE;
    if (parts->len == 0)
        return TRUE;
    if (!can_map(vmm, name, ret_done, error))
        return FALSE;
    if (!*ret_done)
        return TRUE;
    command = map_command(parts);
    return vmm_command(vmm, name, GIVE_FD, fd, NULL, error) &&
           vmm_command(vmm, name, command, -1, NULL, error);
}

/* ---- parts ---- */

gboolean memory_parts_outside(const GArray *parts, guint64 begin, guint64 end,
                              gboolean (*visit)(guint64 begin, guint64 end, gpointer data), gpointer data)
{
    for (guint i = 0; parts != NULL && i < parts->len && begin < end; i++) {
        const MemoryPart *part = &g_array_index(parts, MemoryPart, i);

        if (part->end <= begin)
            continue;
        if (part->begin >= end)
            break;
        if (part->begin > begin && !visit(begin, part->begin, data))
            return FALSE;
        begin = part->end;
    }
    return begin >= end || visit(begin, end, data);
}

static gboolean part_parse(const char *line, guint64 least, guint64 most, MemoryPart *ret_part)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 3);

    return g_strv_length(words) == 2 &&
           g_ascii_string_to_unsigned(words[0], 10, 0, most, &ret_part->begin, NULL) &&
           g_ascii_string_to_unsigned(words[1], 10, 0, most, &ret_part->end, NULL) &&
           ret_part->begin >= least && ret_part->begin < ret_part->end && ret_part->begin % PAGE_BYTES == 0 &&
           ret_part->end % PAGE_BYTES == 0;
}

GArray *memory_parts_parse(const char *text, guint64 bytes)
{
    g_autoptr(GArray) parts = g_array_new(FALSE, FALSE, sizeof(MemoryPart));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    const guint64 most = MIN(bytes, PARTS_END);
    guint64 least = 0;

    if (g_strcmp0(lines[0], HEADER) != 0 || lines[1] == NULL)
        return NULL;
    for (guint i = 1; lines[i] != NULL; i++) {
        MemoryPart part;

        if (*lines[i] == '\0' && lines[i + 1] == NULL)
            break;
        if (parts->len >= PARTS_MAX || !part_parse(lines[i], least, most, &part))
            return NULL;
        least = part.end;
        g_array_append_val(parts, part);
    }
    return g_steal_pointer(&parts);
}

char *memory_parts_format(const GArray *parts)
{
    GString *text = g_string_new(HEADER "\n");

    for (guint i = 0; i < parts->len; i++) {
        const MemoryPart *part = &g_array_index(parts, MemoryPart, i);

        g_string_append_printf(text, "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", part->begin, part->end);
    }
    return g_string_free(text, FALSE);
}
