/* SPDX-License-Identifier: Apache-2.0 */
/* One container's log in the CRI's format, as the kubelet reads it: `<RFC3339Nano time> <stdout|stderr>
 * <P|F> <text>\n`.
 *
 * A line longer than LOG_LINE_BYTES is split into P parts and ends in F; a tail without newline is P. A
 * cursor file beside the log records how far each stream has been written, so that bytes which the agent
 * sends again after the daemon died are written exactly once.
 *
 * Not thread-safe: one writer at a time.
 */
#pragma once

#include <glib.h>

enum { LOG_LINE_BYTES = 16 << 10 };

typedef struct LogFile LogFile;

typedef enum { LOG_STDOUT = 0, LOG_STDERR = 1 } LogStream;

/* Opens or creates path for appending. path NULL or "": bytes are accepted and dropped. cursor_path: the
 * daemon's own file. What a killed daemon wrote beyond the cursor is cut off, because the agent sends it
 * again. */
LogFile *log_file_open(const char *path, const char *cursor_path, GError **error);
void log_file_close(LogFile *log); /* takes NULL */

/* Takes bytes of a stream, of which the first has that offset. Bytes that were taken before are skipped, and
 * a gap (bytes lost for ever) is skipped as well. *ret_taken: everything below it is stored and may be
 * acknowledged. An unfinished line below LOG_LINE_BYTES is kept in memory and not counted. After a failure
 * (a full disk) nothing of the call is stored; call again with the same bytes. */
gboolean log_file_write(LogFile *log, LogStream stream, guint64 offset, const void *data, gsize length,
                        gboolean eof, guint64 *ret_taken, GError **error);

/* Opens a new file at the same path; the old file, which has been renamed, is left alone. */
gboolean log_file_reopen(LogFile *log, GError **error);
