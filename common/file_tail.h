/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a file that somebody else writes, and what is appended to it from now on.
 *
 * A FileTail follows a path over rotation: when the file is renamed and a new one appears under its name, the
 * rest of the old one is read first. A file that was cut is read again from its start. The path is opened
 * without blocking, so that a FIFO in its place cannot hold the caller. A tail belongs to one thread.
 */
#pragma once

#include <gio/gio.h>

/* Return: the last max_bytes of a regular file, NUL-terminated; "" when it cannot be read or is no regular
 * file (a symbolic link is none). The caller frees it. ret_length may be NULL. */
char *file_tail_read_end(const char *path, gsize max_bytes, gsize *ret_length);

typedef struct FileTail FileTail;

typedef struct {
    /* Takes bytes as they come. Return: FALSE with the error set ends file_tail_read(). */
    gboolean (*on_bytes)(gpointer data, const char *bytes, gsize length, GError **error);
    /* What comes next is another file's start, or the same file's after it was cut. */
    void (*on_restart)(gpointer data);
} FileTailReader;

/* watch: file_tail_wait() will be called. Nothing is opened yet; reader, which is not copied, and data are
 * borrowed until the tail is freed. */
FileTail *file_tail_new(const char *path, gboolean watch, const FileTailReader *reader, gpointer data);
void file_tail_free(FileTail *tail); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FileTail, file_tail_free)

/* Hands over all that is new, over rotation if the tail watches, or stops early when cancelled (TRUE as well;
 * cancellable may be NULL). A path that does not exist (yet) has nothing new. */
gboolean file_tail_read(FileTail *tail, GCancellable *cancellable, GError **error);
/* Return: whether a file has been opened. */
gboolean file_tail_is_open(const FileTail *tail);

/* Waits until something may have been written, the cancellable is cancelled or the time is over. It is woken
 * by inotify; on file systems without it the time-out is the interval of a poll. */
void file_tail_wait(FileTail *tail, GCancellable *cancellable, int timeout_ms);
