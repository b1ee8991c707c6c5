/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/heartbeat.h"

/* The limit is divided by these. */
enum { IDLE_PART = 3, WAITED_PART = 12, SILENT_PART = 4, LOOKS = 12, MIN_INTERVAL_MS = 20 };

gint64 heartbeat_interval_ms(gint64 limit_ms)
{
    return MAX(limit_ms / LOOKS, MIN_INTERVAL_MS);
}

void heartbeat_heard(Heartbeat *heart, gint64 now_us)
{
    heart->heard_us = now_us;
    heart->asked_us = 0;
}

void heartbeat_asked(Heartbeat *heart, gint64 now_us)
{
    if (heart->asked_us == 0)
        heart->asked_us = now_us;
}

HeartbeatState heartbeat_look(const Heartbeat *heart, gint64 limit_ms, gboolean is_waited_for, gint64 now_us)
{
    gint64 limit_us = limit_ms * 1000;
    gint64 patience_us = limit_us / (is_waited_for ? WAITED_PART : IDLE_PART);

    if (heart->asked_us == 0)
        return now_us - heart->heard_us >= patience_us ? HEARTBEAT_ASK : HEARTBEAT_FINE;
    if (now_us - heart->asked_us >= limit_us)
        return HEARTBEAT_DEAD;
    return now_us - heart->asked_us >= limit_us / SILENT_PART ? HEARTBEAT_SILENT : HEARTBEAT_FINE;
}
