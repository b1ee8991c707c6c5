/* SPDX-License-Identifier: Apache-2.0 */
/* All agent connections of one daemon, and the timer that notices agents which do not answer. */
#include "common/ids.h"
#include "common/source.h"
#include "sandbox/agent/agent_connection_private.h"

/* ---- agents that do not answer ---- */

static char *describe_silence(const AgentConnection *agent, gint64 now_us)
{
    return g_strdup_printf("the guest's agent does not answer (for %" G_GINT64_FORMAT
                           " s): the guest hangs, or the node is too busy to run it",
                           (now_us - agent->heart.asked_us) / G_USEC_PER_SEC);
}

static void handle_silence_locked(AgentConnection *agent, HeartbeatState state, gint64 now_us)
{
    LOCK_ASSERT_HELD(&agent->lock);
    switch (state) {
    case HEARTBEAT_FINE:
        break;
    case HEARTBEAT_ASK:
        if (agent->ready)
            agent_ping_send_locked(agent);
        break;
    case HEARTBEAT_SILENT:
    case HEARTBEAT_DEAD:
        g_free(agent->silent);
        agent->silent = describe_silence(agent, now_us);
        agent_calls_fail_locked(agent);
        break;
    }
}

static void declare_dead(AgentConnection *agent, gint64 now_us)
{
    /* Only this thread changes agent->silent, so that it is read without the mutex. */
    gboolean dead = agent->events.dead == NULL || agent->events.dead(agent->silent, agent->data);

    g_mutex_lock(&agent->lock);
    if (dead && agent->abandoned == NULL)
        agent->abandoned = g_strdup(agent->silent);
    else
        agent->heart.asked_us = now_us;
    g_mutex_unlock(&agent->lock);
}

/* A guest that boots is silent; the boot has a time-out of its own. */
static void watch_connection(AgentConnection *agent, gint64 now_us, gboolean was_asleep)
{
    HeartbeatState state = HEARTBEAT_FINE;

    g_mutex_lock(&agent->lock);
    if ((was_asleep || agent->blocked != NULL || agent->held) && agent->heart.asked_us != 0)
        agent->heart.asked_us = now_us;
    if (!agent->fresh && !agent->closed && agent->abandoned == NULL)
        state = heartbeat_look(&agent->heart, agent->all->silence_limit_ms,
                               g_hash_table_size(agent->pending) > 0, now_us);
    handle_silence_locked(agent, state, now_us);
    g_mutex_unlock(&agent->lock);
    if (state == HEARTBEAT_DEAD)
        declare_dead(agent, now_us);
}

/* One timer checks all connections. When it runs late, this process was suspended or starved: answers may
 * wait in the sockets, and the silence is not the guests'. */
static gboolean on_watch_timer(gpointer data)
{
    AgentConnections *all = data;
    gint64 now_us = g_get_monotonic_time();
    gint64 late_us = 3 * heartbeat_interval_ms(all->silence_limit_ms) * 1000;

    for (guint i = 0; i < all->open->len; i++)
        watch_connection(all->open->pdata[i], now_us, now_us - all->watched_us > late_us);
    all->watched_us = now_us;
    return G_SOURCE_CONTINUE;
}

/* ---- the connections ---- */

AgentConnections *agent_connections_new(LoopThread *loop, gint64 silence_limit_ms)
{
    AgentConnections *connections = g_new0(AgentConnections, 1);

    connections->loop = loop;
    random_fill(&connections->daemon_id, sizeof connections->daemon_id);
    connections->open = g_ptr_array_new();
    connections->silence_limit_ms = silence_limit_ms;
    if (silence_limit_ms > 0) {
        connections->watched_us = g_get_monotonic_time();
        connections->watch =
            loop_thread_add(loop, g_timeout_source_new((guint)heartbeat_interval_ms(silence_limit_ms)),
                            on_watch_timer, connections);
    }
    agent_clocks_start(connections);
    return connections;
}

void agent_connections_free(AgentConnections *connections)
{
    if (connections == NULL)
        return;
    agent_clocks_stop(connections);
    source_drop(&connections->watch);
    g_ptr_array_unref(connections->open);
    g_free(connections);
}
