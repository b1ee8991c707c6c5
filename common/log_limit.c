/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log_limit.h"

#include <stdarg.h>

/* A token is a thousandth of a line, because a bucket gets back at least one a second. */
enum { TOKENS = 1000 };
static const TokenRate line_rate = {TOKENS / LOG_LIMIT_INTERVAL_S, (gint64)LOG_LIMIT_BURST *TOKENS};

gboolean log_limit_pass(LogLimit *limit, gint64 now_us, guint *ret_suppressed)
{
    gboolean passes;

    g_mutex_lock(&limit->lock);
    passes = token_bucket_take(&limit->lines, &line_rate, TOKENS, now_us);
    if (passes) {
        *ret_suppressed = limit->suppressed;
        limit->suppressed = 0;
    } else {
        limit->suppressed++;
    }
    g_mutex_unlock(&limit->lock);
    return passes;
}

void log_limited(LogLimit *limit, LogLevel level, const char *const *fields, const char *format, ...)
{
    g_autoptr(GPtrArray) all = NULL;
    g_autofree char *count = NULL;
    g_autofree char *message = NULL;
    guint suppressed = 0;
    va_list args;

    if (!log_limit_pass(limit, g_get_monotonic_time(), &suppressed))
        return;
    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    all = g_ptr_array_new();
    for (guint i = 0; fields[i] != NULL; i += 2) { /* the value may be NULL */
        g_ptr_array_add(all, (gpointer)fields[i]);
        g_ptr_array_add(all, (gpointer)fields[i + 1]);
    }
    count = g_strdup_printf("%u", suppressed);
    g_ptr_array_add(all, "suppressed");
    g_ptr_array_add(all, suppressed > 0 ? count : NULL);
    g_ptr_array_add(all, NULL);
    g_ptr_array_add(all, NULL);
    log_write(level, (const char *const *)all->pdata, "%s", message);
}
