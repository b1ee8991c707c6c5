/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's serial console, as a file that QEMU appends to. The guest is hostile: it may write any bytes, and
 * as many as it wants. Threads: any.
 */
#pragma once

#include <glib.h>

/* Return: the end of the console for a message: at most max_lines lines of the last max_bytes, as valid UTF-8
 * without terminal control sequences and empty lines, joined by '\n'; "" when the file is empty or cannot be
 * read. The caller frees it. */
char *console_tail(const char *path, gsize max_bytes, guint max_lines);

/* The same for a text; pure. */
char *console_clean(const char *data, gsize length, guint max_lines);

/* Empties a console file that is larger than max_bytes, so that a guest cannot fill the node's disk. QEMU
 * continues to append. Return: whether the file was emptied. */
gboolean console_trim(const char *path, gsize max_bytes);
/* Does the same with each file of the directory whose name ends with ".log". */
void console_trim_all(const char *directory, gsize max_bytes);
