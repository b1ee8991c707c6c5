/* SPDX-License-Identifier: Apache-2.0 */

#include "common/node_memory.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"

enum { MAX_BYTES = 64 << 10 };

/* Reads a line as "MemTotal:       24650412 kB". */
static gboolean read_field(const char *text, const char *name, guint64 *ret_bytes, GError **error)
{
    g_autofree char *begin = g_strdup_printf("%s:", name);
    const char *line = text;
    char *end;
    guint64 kib;

    while (line != NULL && !g_str_has_prefix(line, begin)) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    if (line == NULL)
        return fail(error, STATUS_INTERNAL, "/proc/meminfo has no field %s", name);
    line += strlen(begin);
    kib = g_ascii_strtoull(line, &end, 10);
    if (end == line || !g_str_has_prefix(end, " kB") || kib > G_MAXUINT64 / 1024)
        return fail(error, STATUS_INTERNAL, "field %s of /proc/meminfo is not a number of kB", name);
    *ret_bytes = kib * 1024;
    return TRUE;
}

gboolean node_memory_read(const char *path, NodeMemory *ret_memory, GError **error)
{
    g_autofree char *text = NULL;

    return file_read(path != NULL ? path : "/proc/meminfo", MAX_BYTES, &text, NULL, error) &&
           read_field(text, "MemTotal", &ret_memory->total_bytes, error) &&
           read_field(text, "MemAvailable", &ret_memory->available_bytes, error);
}
