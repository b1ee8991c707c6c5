/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/error.h"

/* The cursor file's content; native byte order, since it never leaves the node. */
typedef struct {
    guint64 inode;    /* of the log that size belongs to */
    guint64 size;     /* of that log */
    guint64 taken[2]; /* bytes of each stream that are in the log */
} Cursor;

struct LogFile {
    char *path; /* NULL: discards */
    int fd;
    int cursor_fd;
    Cursor cursor;
    gboolean cursor_is_old; /* the file's */
    GByteArray *pending[2]; /* bytes of an unfinished line, which begins at offset taken[] */
    GByteArray *lines;      /* lines that the current call writes */
};

static const char *const stream_names[2] = {"stdout", "stderr"};

static gboolean cursor_store(LogFile *log)
{
    return pwrite(log->cursor_fd, &log->cursor, sizeof log->cursor, 0) == (ssize_t)sizeof log->cursor;
}

static gboolean file_open(LogFile *log, GError **error)
{
    int fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) != 0) {
        fail_errno(error, errno, "cannot open the log %s", log->path);
        if (fd >= 0)
            close(fd);
        return FALSE;
    }
    if (!S_ISREG(status.st_mode)) {
        close(fd);
        return fail(error, STATUS_INVALID_ARGUMENT, "the log %s is not a regular file", log->path);
    }
    if ((guint64)status.st_ino == log->cursor.inode && (guint64)status.st_size > log->cursor.size &&
        ftruncate(fd, (off_t)log->cursor.size) == 0)
        status.st_size = (off_t)log->cursor.size;
    if (log->fd >= 0)
        close(log->fd);
    log->fd = fd;
    log->cursor.inode = (guint64)status.st_ino;
    log->cursor.size = (guint64)status.st_size;
    return TRUE;
}

LogFile *log_file_open(const char *path, const char *cursor_path, GError **error)
{
    LogFile *log = g_new0(LogFile, 1);

    log->fd = -1;
    log->path = path != NULL && *path != '\0' ? g_strdup(path) : NULL;
    for (int i = 0; i < 2; i++)
        log->pending[i] = g_byte_array_new();
    log->lines = g_byte_array_new();
    log->cursor_fd = open(cursor_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (log->cursor_fd < 0) {
        fail_errno(error, errno, "cannot open %s", cursor_path);
        log_file_close(log);
        return NULL;
    }
    if (pread(log->cursor_fd, &log->cursor, sizeof log->cursor, 0) != (ssize_t)sizeof log->cursor)
        log->cursor = (Cursor){0};
    if (log->path != NULL && !file_open(log, error)) {
        log_file_close(log);
        return NULL;
    }
    if (!cursor_store(log)) {
        fail_errno(error, errno, "cannot write %s", cursor_path);
        log_file_close(log);
        return NULL;
    }
    return log;
}

void log_file_close(LogFile *log)
{
    if (log == NULL)
        return;
    if (log->fd >= 0)
        close(log->fd);
    if (log->cursor_fd >= 0)
        close(log->cursor_fd);
    for (int i = 0; i < 2; i++)
        g_byte_array_unref(log->pending[i]);
    g_byte_array_unref(log->lines);
    g_free(log->path);
    g_free(log);
}

gboolean log_file_reopen(LogFile *log, GError **error)
{
    if (log->path == NULL)
        return TRUE;
    return file_open(log, error) &&
           (cursor_store(log) || fail_errno(error, errno, "cannot write the log's cursor"));
}

static void line_append(LogFile *log, LogStream stream, char tag, const guint8 *text, gsize length)
{
    struct timespec now;
    struct tm utc;
    char head[64];
    gsize used;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    used = strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &utc);
    g_snprintf(head + used, sizeof head - used, ".%09ldZ %s %c ", now.tv_nsec, stream_names[stream], tag);
    g_byte_array_append(log->lines, (const guint8 *)head, (guint)strlen(head));
    g_byte_array_append(log->lines, text, (guint)length);
    g_byte_array_append(log->lines, (const guint8 *)"\n", 1);
}

/* Formats the complete lines in bytes as log lines. Return: how many bytes they were. */
static gsize lines_collect(LogFile *log, LogStream stream, const guint8 *bytes, gsize length, gboolean eof)
{
    gsize used = 0;

    while (used < length) {
        gsize left = length - used;
        const guint8 *newline = memchr(bytes + used, '\n', MIN(left, LOG_LINE_BYTES + 1));

        if (newline != NULL) {
            gsize text = (gsize)(newline - (bytes + used));

            line_append(log, stream, 'F', bytes + used, text);
            used += text + 1;
        } else if (left > LOG_LINE_BYTES) {
            line_append(log, stream, 'P', bytes + used, LOG_LINE_BYTES);
            used += LOG_LINE_BYTES;
        } else {
            break;
        }
    }
    if (eof && used < length) {
        line_append(log, stream, 'P', bytes + used, length - used);
        used = length;
    }
    return used;
}

/* Writes all lines or none. */
static gboolean lines_write(LogFile *log, GError **error)
{
    gsize written = 0;

    while (written < log->lines->len) {
        ssize_t put =
            TEMP_FAILURE_RETRY(write(log->fd, log->lines->data + written, log->lines->len - written));

        if (put <= 0) {
            int errnum = put < 0 ? errno : ENOSPC;

            if (written > 0 && ftruncate(log->fd, (off_t)log->cursor.size) != 0)
                return fail_errno(error, errno, "cannot take back a part of a line in the log %s", log->path);
            return fail_errno(error, errnum, "cannot write the log %s", log->path);
        }
        written += (gsize)put;
    }
    log->cursor.size += log->lines->len;
    return TRUE;
}

gboolean log_file_write(LogFile *log, LogStream stream, guint64 offset, const void *data, gsize length,
                        gboolean eof, guint64 *ret_taken, GError **error)
{
    GByteArray *pending = log->pending[stream];
    guint64 known = log->cursor.taken[stream] + pending->len;
    guint kept = pending->len;
    gsize used;

    if (offset > known) { /* a gap: the lost bytes never come */
        log->cursor.taken[stream] += offset - known;
        known = offset;
    }
    if (known < offset + length)
        g_byte_array_append(pending, (const guint8 *)data + (known - offset),
                            (guint)(offset + length - known));
    g_byte_array_set_size(log->lines, 0);
    used = lines_collect(log, stream, pending->data, pending->len, eof);
    if (log->path != NULL && !lines_write(log, error)) {
        g_byte_array_set_size(pending, kept);
        return FALSE;
    }
    if (used > 0) {
        g_byte_array_remove_range(pending, 0, (guint)used);
        log->cursor.taken[stream] += used;
        log->cursor_is_old = TRUE;
    }
    /* The next try writes only the cursor, without which the next daemon would cut the lines off. */
    if (log->cursor_is_old && !cursor_store(log))
        return fail_errno(error, errno, "cannot write the cursor of the log %s", log->path);
    log->cursor_is_old = FALSE;
    *ret_taken = log->cursor.taken[stream];
    return TRUE;
}
