/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/console.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_tail.h"

/* Return: the length of the terminal control sequence that begins with ESC at text[0] (ECMA-48: CSI up to the
 * final byte, else two bytes). */
static gsize escape_length(const char *text, gsize length)
{
    gsize at = 2;

    if (length < 2 || text[1] != '[')
        return MIN(length, 2);
    while (at < length && text[at] >= 0x20 && text[at] <= 0x3f)
        at++;
    return MIN(length, at + 1);
}

/* Lines end at \n or \r. Control bytes are removed, and tabs become spaces. */
static GString *without_controls(const char *data, gsize length)
{
    GString *text = g_string_sized_new(length);

    for (gsize at = 0; at < length; at++) {
        char c = data[at];

        if (c == '\033')
            at += escape_length(data + at, length - at) - 1;
        else if (c == '\n' || c == '\r')
            g_string_append_c(text, '\n');
        else if (c == '\t')
            g_string_append_c(text, ' ');
        else if ((guchar)c >= 0x20 && c != 0x7f)
            g_string_append_c(text, c);
    }
    return text;
}

char *console_clean(const char *data, gsize length, guint max_lines)
{
    GString *bytes = without_controls(data, length);
    g_autofree char *valid = g_utf8_make_valid(bytes->str, (gssize)bytes->len);
    g_auto(GStrv) lines = g_strsplit(valid, "\n", -1);
    g_autoptr(GPtrArray) kept = g_ptr_array_new();

    g_string_free(bytes, TRUE);
    for (gsize i = 0; lines[i] != NULL; i++)
        if (*g_strstrip(lines[i]) != '\0')
            g_ptr_array_add(kept, lines[i]);
    if (kept->len > max_lines)
        g_ptr_array_remove_range(kept, 0, kept->len - max_lines);
    g_ptr_array_add(kept, NULL);
    return g_strjoinv("\n", (char **)kept->pdata);
}

char *console_tail(const char *path, gsize max_bytes, guint max_lines)
{
    gsize length = 0;
    g_autofree char *data = file_tail_read_end(path, max_bytes, &length);

    return console_clean(data, length, max_lines);
}

gboolean console_trim(const char *path, gsize max_bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    gboolean cut = FALSE;
    struct stat status;

    if (fd < 0)
        return FALSE;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > (off_t)max_bytes)
        cut = ftruncate(fd, 0) == 0;
    close(fd);
    return cut;
}

void console_trim_all(const char *directory, gsize max_bytes)
{
    g_autoptr(GDir) names = g_dir_open(directory, 0, NULL);
    const char *name;

    while (names != NULL && (name = g_dir_read_name(names)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        if (g_str_has_suffix(name, ".log"))
            console_trim(path, max_bytes);
    }
}
