/* SPDX-License-Identifier: Apache-2.0 */
/* A limit for lines of the log that a party which is not trusted can provoke: LOG_LIMIT_BURST lines at once,
 * then one every LOG_LIMIT_INTERVAL_S. The next line that is written has a field `suppressed`, the number of
 * lines that were left out before it.
 *
 *     log_limited(&pod->guest_log, LOG_LEVEL_WARNING, LOG_FIELDS("sandbox", id), "guest: %s", text);
 *
 * Threads: any. A LogLimit that is all zeros is ready for use and needs no end.
 */
#pragma once

#include "common/log.h"
#include "common/token_bucket.h"

enum { LOG_LIMIT_BURST = 10, LOG_LIMIT_INTERVAL_S = 10 };

typedef struct {
    GMutex lock;
    TokenBucket lines;
    guint suppressed; /* since the last line */
} LogLimit;

/* Decides about one line. Return: TRUE when it may be written, with the number of lines before it that were
 * not. now_us: monotonic. */
gboolean log_limit_pass(LogLimit *limit, gint64 now_us, guint *ret_suppressed);

/* log_write(), unless the limit is reached. */
void log_limited(LogLimit *limit, LogLevel level, const char *const *fields, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
