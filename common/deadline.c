/* SPDX-License-Identifier: Apache-2.0 */
#include "common/deadline.h"

#include "common/error.h"

Deadline deadline_in_ms(gint64 timeout_ms)
{
    return deadline_sooner(NULL, timeout_ms);
}

Deadline deadline_sooner(const Deadline *caller, gint64 timeout_ms)
{
    Deadline result = {.at_us = g_get_monotonic_time() + timeout_ms * 1000, .cancellable = NULL};

    if (caller == NULL)
        return result;
    result.cancellable = caller->cancellable;
    result.at_us = MIN(result.at_us, caller->at_us);
    return result;
}

int deadline_left_ms(const Deadline *deadline)
{
    gint64 left_us;

    if (deadline == NULL || deadline->at_us == G_MAXINT64)
        return G_MAXINT;
    left_us = deadline->at_us - g_get_monotonic_time();
    /* Rounded up, so that a poll with this value does not spin in the last millisecond. */
    return (int)CLAMP((left_us + 999) / 1000, 0, G_MAXINT);
}

gboolean deadline_check(const Deadline *deadline, const char *doing, GError **error)
{
    if (deadline == NULL)
        return TRUE;
    if (deadline->cancellable != NULL && g_cancellable_is_cancelled(deadline->cancellable))
        return fail(error, STATUS_CANCELLED, "cancelled by the caller while %s", doing);
    if (deadline_left_ms(deadline) == 0)
        return fail(error, STATUS_DEADLINE_EXCEEDED, "deadline exceeded while %s", doing);
    return TRUE;
}

gboolean deadline_cond_wait(const Deadline *deadline, GCond *cond, GMutex *lock, const char *doing,
                            GError **error)
{
    gint64 until = G_MAXINT64;

    if (!deadline_check(deadline, doing, error))
        return FALSE;
    if (deadline != NULL)
        until = deadline->at_us;
    if (deadline != NULL && deadline->cancellable != NULL)
        until = MIN(until, g_get_monotonic_time() + 100 * G_TIME_SPAN_MILLISECOND);
    if (until == G_MAXINT64)
        g_cond_wait(cond, lock);
    else
        g_cond_wait_until(cond, lock, until);
    return TRUE;
}
