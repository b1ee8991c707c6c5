/* SPDX-License-Identifier: Apache-2.0 */
/* How much an agent may send. One thread serves the agents of all pods, so each connection has a budget of
 * frames and of the thread's time. A connection that has used it up is not read until the budget is back:
 * its socket fills, and the guest waits.
 *
 * Data counts by the time that it takes, because a pod may send much of it. A small frame counts by itself:
 * it causes an acknowledgement, an entry in a queue or a wake-up of a client, which other threads pay for. An
 * agent that is slowed down puts more into each frame, so an honest one loses no throughput.
 */

#include "common/clock.h"
#include "common/metrics.h"
#include "sandbox/agent/agent_connection_private.h"

enum {
    SMALL_FRAME_BYTES = 4 << 10,
    PAUSE_MIN_US = 10 * 1000, /* shorter pauses would cost more than they save */
    PAUSE_MAX_US = 1000 * 1000,
    FORGOTTEN_US = 60 * 1000 * 1000, /* a pause after that time is logged again */
};

static const TokenRate frame_rate = {.per_second = 5000, .burst = 10000};
/* A quarter of one processor. */
static const TokenRate work_rate = {.per_second = G_USEC_PER_SEC / 4, .burst = G_USEC_PER_SEC / 4};

static Metric pauses = METRIC_COUNTER(
    "crivirt_agent_pauses_total",
    "Times that an agent was not read for a while, because it had sent more than its share.", NULL);

gint64 agent_budget_begin(void)
{
    return clock_read_ns(CLOCK_THREAD_CPUTIME_ID) / 1000;
}

void agent_budget_charge_frame(AgentConnection *agent, gsize length)
{
    if (length < SMALL_FRAME_BYTES)
        token_bucket_charge(&agent->budget.frames, &frame_rate, 1, g_get_monotonic_time());
}

gint64 agent_budget_end(AgentConnection *agent, gint64 begin_us)
{
    gint64 now_us = g_get_monotonic_time();
    gint64 debt_us;

    token_bucket_charge(&agent->budget.work, &work_rate,
                        clock_read_ns(CLOCK_THREAD_CPUTIME_ID) / 1000 - begin_us, now_us);
    debt_us = MAX(token_bucket_debt_us(&agent->budget.frames, &frame_rate, now_us),
                  token_bucket_debt_us(&agent->budget.work, &work_rate, now_us));
    if (debt_us == 0)
        return 0;
    metric_add(&pauses, 1, NULL, NULL);
    if (agent->budget.paused_us == 0 || now_us - agent->budget.paused_us > FORGOTTEN_US)
        log_limited(&agent->log, LOG_LEVEL_WARNING, LOG_FIELDS("socket", agent->socket_path),
                    "a guest's agent sends more than its share and is read more slowly");
    agent->budget.paused_us = now_us;
    return CLAMP(debt_us, PAUSE_MIN_US, PAUSE_MAX_US);
}
