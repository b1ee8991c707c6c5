/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/log_follow.h"

#include "common/error.h"
#include "common/file_tail.h"

enum { OVER_INTERVAL_MS = 250 };

static gboolean feed_reader(gpointer reader, const char *bytes, gsize length, GError **error)
{
    return cri_log_reader_feed(reader, bytes, length, error);
}

static void restart_reader(gpointer reader)
{
    cri_log_reader_restart(reader);
}

static const FileTailReader log_reader = {.on_bytes = feed_reader, .on_restart = restart_reader};

/* A first pass over the file, which counts the lines, so that the second can skip all but the last ones. */
static gboolean count_lines(const LogFollow *follow, guint64 *ret_lines, GError **error)
{
    CriLogOptions counting = {.since_ns = follow->options.since_ns};
    g_autoptr(CriLogReader) reader = cri_log_reader_new(&counting);
    g_autoptr(FileTail) tail = file_tail_new(follow->path, FALSE, &log_reader, reader);

    if (!file_tail_read(tail, follow->cancellable, error))
        return FALSE;
    *ret_lines = cri_log_reader_lines(reader);
    return TRUE;
}

/* Asks is_over at most once per interval, and at once when the cancellable is cancelled. */
static gboolean ask_if_over(const LogFollow *follow, gint64 *asked_at_us, gboolean *ret_over, GError **error)
{
    gint64 interval_ms = follow->over_interval_ms != 0 ? follow->over_interval_ms : OVER_INTERVAL_MS;
    gint64 now_us = g_get_monotonic_time();

    *ret_over = FALSE;
    if (!g_cancellable_is_cancelled(follow->cancellable) && *asked_at_us != 0 &&
        now_us - *asked_at_us < interval_ms * 1000)
        return TRUE;
    *asked_at_us = now_us;
    return follow->is_over(follow->over_data, ret_over, error);
}

static gboolean follow_to_end(const LogFollow *follow, FileTail *tail, GError **error)
{
    gint64 interval_ms = follow->over_interval_ms != 0 ? follow->over_interval_ms : OVER_INTERVAL_MS;
    gint64 asked_at_us = 0;
    gboolean over = FALSE;

    for (;;) {
        if (!file_tail_read(tail, follow->cancellable, error))
            return FALSE;
        if (over)
            return TRUE;
        if (!ask_if_over(follow, &asked_at_us, &over, error))
            return FALSE;
        /* The log was complete before the container was over, so one more read finds all of it. */
        if (!over)
            file_tail_wait(tail, follow->cancellable, (int)interval_ms);
    }
}

static gboolean read_once(const LogFollow *follow, FileTail *tail, GError **error)
{
    if (!file_tail_read(tail, follow->cancellable, error))
        return FALSE;
    if (!file_tail_is_open(tail))
        return fail(error, STATUS_NOT_FOUND, "there is no log file %s", follow->path);
    if (g_cancellable_is_cancelled(follow->cancellable))
        return fail(error, STATUS_CANCELLED, "interrupted");
    return TRUE;
}

gboolean log_follow(const LogFollow *follow, guint64 *ret_malformed, GError **error)
{
    CriLogOptions options = follow->options;
    g_autoptr(CriLogReader) reader = NULL;
    g_autoptr(FileTail) tail = NULL;
    guint64 lines = 0;
    gboolean good;

    if (follow->tail >= 0) {
        if (!count_lines(follow, &lines, error))
            return FALSE;
        options.skip_lines = lines > (guint64)follow->tail ? lines - (guint64)follow->tail : 0;
    }
    reader = cri_log_reader_new(&options);
    tail = file_tail_new(follow->path, follow->is_over != NULL, &log_reader, reader);
    good = follow->is_over != NULL ? follow_to_end(follow, tail, error) : read_once(follow, tail, error);
    if (good && ret_malformed != NULL)
        *ret_malformed = cri_log_reader_malformed(reader);
    return good;
}
