/* One container's log in the CRI's format, as the kubelet reads it:
 *
 *     <RFC3339Nano time> <stdout|stderr> <P|F> <text>\n
 *
 * A line longer than LOG_LINE_BYTES is split into P parts and ends in F; a tail without newline is P. Beside
 * the log a cursor file remembers how far each stream has been written, so that bytes which the agent sends
 * again after the daemon died are written exactly once. Not thread-safe: one writer at a time.
 */
#pragma once

#include <glib.h>

enum { LOG_LINE_BYTES = 16 << 10 };

typedef struct LogFile LogFile;

typedef enum { LOG_STDOUT = 0, LOG_STDERR = 1 } LogStream;

/* path NULL or "": nothing is stored, everything is taken. Opens or creates path for appending; cursor_path
 * is the daemon's own. What a killed daemon wrote beyond the cursor is cut off, because it will come again.
 */
LogFile *log_file_open(const char *path, const char *cursor_path, GError **error);
void log_file_close(LogFile *log); /* takes NULL */

/* Takes bytes of a stream, the first of which is number offset; those already taken are skipped, and a gap
 * (lost for ever) is jumped. *ret_taken: everything below it is stored, and may be acknowledged. An
 * unfinished line below LOG_LINE_BYTES is kept in memory and not counted. On failure (a full disk) nothing of
 * the call is stored; give the same bytes again. */
gboolean log_file_write(LogFile *log, LogStream stream, guint64 offset, const void *data, gsize length,
                        gboolean eof, guint64 *ret_taken, GError **error);

/* Opens a new file at the same path and leaves the old one alone (it has been renamed). */
gboolean log_file_reopen(LogFile *log, GError **error);
