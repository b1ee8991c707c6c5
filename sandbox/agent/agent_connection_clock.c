/* SPDX-License-Identifier: Apache-2.0 */
/* The clocks of guests follow the node's.
 *
 * Each answer to a ping has the guest's clocks, from which clock_offset.h finds whether the guest is off. The
 * guest is then sent SetClock. A silent agent gets pings from the heartbeat anyway; this file sends one to an
 * agent that had none for CHECK_MS, and to all of them when the node's clock was set. What a guest answers
 * matters to its own clock alone, and costs one SetClock for each ping.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/source.h"
#include "sandbox/agent/agent_calls.h"
#include "sandbox/agent/agent_connection_private.h"
#include "sandbox/agent/clock_offset.h"

enum {
    TICK_MS = 5 * 1000,
    CHECK_MS = 60 * 1000,
    FIRST_CHECK_MS = 10 * 1000, /* Setup sets the clock of a guest, somewhat late */
    NOTEWORTHY_MS = 500,
};

/* ---- when ---- */

/* The clocks of guests that have connected together are not looked at together for ever. */
static gint64 next_check_us(gint64 now_us)
{
    return now_us + g_random_int_range(CHECK_MS * 3 / 4, CHECK_MS * 5 / 4) * G_TIME_SPAN_MILLISECOND;
}

static gboolean may_check_locked(const AgentConnection *agent)
{
    return agent->clock.followed && agent->ready && agent->protocol >= WIRE_PROTOCOL_CLOCK &&
           !agent->closed && agent->abandoned == NULL && agent->blocked == NULL && !agent->held;
}

static void check_clocks(AgentConnections *connections, gboolean at_once)
{
    gint64 now_us = g_get_monotonic_time();

    for (guint i = 0; i < connections->open->len; i++) {
        AgentConnection *agent = connections->open->pdata[i];

        g_mutex_lock(&agent->lock);
        if (may_check_locked(agent) && (at_once || now_us >= agent->clock.due_us))
            agent_ping_send_locked(agent);
        g_mutex_unlock(&agent->lock);
    }
}

static gboolean on_clock_timer(gpointer data)
{
    check_clocks(data, FALSE);
    return G_SOURCE_CONTINUE;
}

static void check_all_clocks(gpointer data)
{
    check_clocks(data, TRUE);
}

void agent_connections_check_clocks(AgentConnections *connections)
{
    loop_thread_after(connections->loop, 0, check_all_clocks, connections);
}

static void on_clock_stepped(gint64 step_ns, gpointer data)
{
    AgentConnections *connections = data;

    log_limited(&connections->clock_log, LOG_LEVEL_INFO, LOG_NO_FIELDS,
                "the node's clock was set by %+.3f s; the guests follow", (double)step_ns / 1e9);
    check_clocks(connections, TRUE);
}

void agent_clocks_start(AgentConnections *connections)
{
    connections->clock_timer =
        loop_thread_add(connections->loop, g_timeout_source_new(TICK_MS), on_clock_timer, connections);
    connections->clock_watch = clock_watch_new(connections->loop, on_clock_stepped, connections);
    if (connections->clock_watch == NULL)
        log_warning(LOG_NO_FIELDS, "guests follow a step of the node's clock up to %d s later: %s",
                    CHECK_MS * 5 / 4 / 1000, g_strerror(errno));
}

void agent_clocks_stop(AgentConnections *connections)
{
    clock_watch_free(connections->clock_watch);
    source_drop(&connections->clock_timer);
}

void agent_connection_follow_clock(AgentConnection *agent)
{
    g_mutex_lock(&agent->lock);
    agent->clock.followed = TRUE;
    g_mutex_unlock(&agent->lock);
}

/* After a reconnect at once: the node's clock may have been set while no daemon ran. */
void agent_clock_ready_locked(AgentConnection *agent)
{
    LOCK_ASSERT_HELD(&agent->lock);
    agent->clock.due_us =
        agent->fresh ? g_get_monotonic_time() + FIRST_CHECK_MS * G_TIME_SPAN_MILLISECOND : 0;
}

/* ---- question and answer ---- */

void agent_clock_asked_locked(AgentConnection *agent, gint64 asked_ns, guint64 ping_id)
{
    LOCK_ASSERT_HELD(&agent->lock);
    agent->clock.pinged_ns = asked_ns;
    agent->clock.ping_id = ping_id;
    agent->clock.due_us = next_check_us(g_get_monotonic_time());
}

static void set_clock_send_locked(AgentConnection *agent, const GuestTime *right)
{
    Crivirt__Agent__V1__SetClockRequest set_clock = CRIVIRT__AGENT__V1__SET_CLOCK_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;

    set_clock.monotonic_ns = right->monotonic_ns;
    set_clock.wall_clock_ns = right->wall_ns;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_SET_CLOCK;
    request.set_clock = &set_clock;
    agent->clock.set_id = agent_request_send_locked(agent, &request);
}

/* Return: by how much the guest was ahead and is set; 0: it is not set. */
static gint64 take_clocks_locked(AgentConnection *agent, const Crivirt__Agent__V1__PingResponse *ping)
{
    const NodeTime answered = {clock_read_ns(CLOCK_BOOTTIME), clock_read_ns(CLOCK_REALTIME)};
    const GuestTime told = {ping->monotonic_ns, ping->wall_clock_ns};
    gint64 ahead_ns = 0;
    GuestTime right;

    agent->clock.ping_id = 0;
    if (may_check_locked(agent) &&
        clock_offset_find(agent->clock.pinged_ns, &answered, &told, &right, &ahead_ns))
        set_clock_send_locked(agent, &right);
    return ahead_ns;
}

void agent_clock_take_response(AgentConnection *agent, const Response *response)
{
    gint64 ahead_ns = 0;
    gboolean failed = FALSE;

    g_mutex_lock(&agent->lock);
    if (response->id == agent->clock.ping_id &&
        response->result_case == CRIVIRT__AGENT__V1__RESPONSE__RESULT_PING) {
        ahead_ns = take_clocks_locked(agent, response->ping);
    } else if (response->id == agent->clock.set_id) {
        agent->clock.set_id = 0;
        failed = response->failure != NULL;
    }
    g_mutex_unlock(&agent->lock);
    if (llabs(ahead_ns) >= NOTEWORTHY_MS * G_GINT64_CONSTANT(1000000))
        log_limited(&agent->log, LOG_LEVEL_INFO, LOG_FIELDS("socket", agent->socket_path),
                    "a guest's clock was %+.3f s from the node's, and is set", (double)ahead_ns / 1e9);
    if (failed) {
        g_autofree char *text = g_utf8_make_valid(response->failure->message, -1);

        log_limited(&agent->log, LOG_LEVEL_WARNING, LOG_FIELDS("socket", agent->socket_path),
                    "a guest's clock cannot be set: %s", text);
    }
}

/* ---- at once ---- */

gboolean agent_connection_set_clock(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    const Crivirt__Agent__V1__PingRequest ping = CRIVIRT__AGENT__V1__PING_REQUEST__INIT;
    Crivirt__Agent__V1__SetClockRequest set_clock = CRIVIRT__AGENT__V1__SET_CLOCK_REQUEST__INIT;
    const gint64 asked_ns = clock_read_ns(CLOCK_BOOTTIME);
    g_autoptr(AgentPingResponse) told = NULL;
    NodeTime answered;
    GuestTime right;
    gint64 ahead_ns;

    if (!agent_ping(agent, &ping, deadline, &told, error))
        return FALSE;
    answered = (NodeTime){clock_read_ns(CLOCK_BOOTTIME), clock_read_ns(CLOCK_REALTIME)};
    if (!clock_offset_find(asked_ns, &answered, &(GuestTime){told->monotonic_ns, told->wall_clock_ns}, &right,
                           &ahead_ns))
        return TRUE;
    set_clock.monotonic_ns = right.monotonic_ns;
    set_clock.wall_clock_ns = right.wall_ns;
    return agent_set_clock(agent, &set_clock, deadline, NULL, error);
}
