/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/templates/retry.h"

#define FIRST_PAUSE_US (G_GINT64_CONSTANT(60) * G_USEC_PER_SEC)
#define LONGEST_PAUSE_US (60 * FIRST_PAUSE_US)

static gint64 pause_us(guint failures)
{
    gint64 pause = FIRST_PAUSE_US;

    if (failures < 2)
        return 0;
    for (guint i = 2; i < failures && pause < LONGEST_PAUSE_US; i++)
        pause *= 2;
    return MIN(pause, LONGEST_PAUSE_US);
}

void retry_add_failure(Retry *retry, gint64 now_us)
{
    gboolean was_good = retry->ready_us != 0 && now_us - retry->ready_us >= LONGEST_PAUSE_US;

    retry->failures = was_good ? 1 : retry->failures + 1;
    retry->next_us = now_us + pause_us(retry->failures);
    retry->ready_us = 0;
}

void retry_add_success(Retry *retry, gint64 now_us)
{
    retry->next_us = 0;
    retry->ready_us = now_us;
}

gint64 retry_left_us(const Retry *retry, gint64 now_us)
{
    return retry != NULL ? MAX(retry->next_us - now_us, 0) : 0;
}
