/* A guest's serial console, as a file that QEMU appends to. The guest is hostile: it writes what it likes, as
 * much as it likes.
 */
#pragma once

#include <glib.h>

/* The end of the console for a message: at most max_lines lines out of the last max_bytes, as valid UTF-8
 * without terminal control sequences or empty lines, joined by '\n'. Never NULL: "" when there is nothing or
 * the file cannot be read. The caller frees it. */
char *console_tail(const char *path, gsize max_bytes, guint max_lines);

/* The same for any text; pure. */
char *console_clean(const char *data, gsize length, guint max_lines);

/* Empties a console that has outgrown max_bytes, so that a guest cannot fill the node's disk; QEMU goes on
 * appending. TRUE when it was cut. */
gboolean console_trim(const char *path, gsize max_bytes);
