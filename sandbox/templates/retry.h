/* SPDX-License-Identifier: Apache-2.0 */
/* When a template that failed may be created again.
 *
 * A template fails when it cannot be created, and when no guest can be restored from it. After the first
 * failure the next try may follow at once; then the pauses grow: 1 minute, 2, 4 and so on, at most an hour. A
 * template that fails after it was good for an hour starts from the beginning.
 *
 * Times are on the scale of g_get_monotonic_time(), and the caller provides them. A record is a value without
 * memory of its own; all zeros: there was no failure. Threads: the caller's lock.
 */
#pragma once

#include <glib.h>

typedef struct {
    guint failures;
    gint64 next_us;  /* no try before */
    gint64 ready_us; /* when it was last created since the failure; 0: not since */
} Retry;

void retry_add_failure(Retry *retry, gint64 now_us);
void retry_add_success(Retry *retry, gint64 now_us);

/* retry may be NULL, which is a record without a failure. Return: microseconds until the next try; 0: now. */
gint64 retry_left_us(const Retry *retry, gint64 now_us);
