/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the channel still while the state of its guest is saved. QEMU moves bytes between the socket and the
 * guest's memory also while the guest is paused: the memory would no longer fit the state of the devices. */
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "common/error.h"
#include "common/source.h"
#include "sandbox/agent/agent_connection_private.h"

enum { LOOK_EVERY_US = 500 };

static void reading_hold(gpointer data)
{
    AgentConnection *agent = data;

    source_drop(&agent->reader);
}

static void reading_release(gpointer data)
{
    AgentConnection *agent = data;

    if (agent->fd >= 0 && agent->reader == NULL && agent->resume == NULL)
        agent_reading_start(agent);
}

/* What is queued up to now is still written, and what follows waits: clients that keep sending do not delay
 * the moment. Return: FALSE when the agent is not connected. */
static gboolean begin_hold(AgentConnection *agent)
{
    gboolean ready;

    g_mutex_lock(&agent->lock);
    ready = agent->ready;
    if (ready) {
        agent->held = TRUE;
        agent->held_bytes = agent->queue.length;
    }
    g_mutex_unlock(&agent->lock);
    return ready;
}

typedef enum { HOLD_WAITS, HOLD_STILL, HOLD_LOST } HoldState;

/* The channel is still when all that was to be written has reached QEMU, and the guest has taken it. */
static HoldState look(AgentConnection *agent)
{
    HoldState state = HOLD_WAITS;
    int waiting = 0;

    g_mutex_lock(&agent->lock);
    if (!agent->held)
        state = HOLD_LOST; /* the connection was dropped */
    else if (agent->held_bytes == 0 && ioctl(agent->fd, SIOCOUTQ, &waiting) == 0 && waiting == 0)
        state = HOLD_STILL;
    agent->unread = state == HOLD_STILL;
    g_mutex_unlock(&agent->lock);
    return state;
}

static gboolean fail_lost(GError **error)
{
    return fail(error, STATUS_UNAVAILABLE, "the guest's agent is not connected");
}

gboolean agent_connection_hold(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    HoldState state = HOLD_WAITS;
    gboolean in_time = begin_hold(agent) || fail_lost(error);

    if (!in_time)
        return FALSE;
    while (in_time && (state = look(agent)) == HOLD_WAITS) {
        in_time = deadline_check(deadline, "waiting until the guest's agent has read what was sent", error);
        g_usleep(LOOK_EVERY_US);
    }
    if (state != HOLD_STILL) {
        agent_connection_release(agent);
        return in_time && fail_lost(error);
    }
    loop_thread_call(agent->all->loop, reading_hold, agent);
    return TRUE;
}

void agent_connection_release(AgentConnection *agent)
{
    g_mutex_lock(&agent->lock);
    agent->held = FALSE;
    agent->held_bytes = 0;
    agent->unread = FALSE;
    agent->clock.due_us = 0; /* the guest has stood still, and its clock perhaps with it */
    agent_queue_write_locked(agent);
    g_mutex_unlock(&agent->lock);
    loop_thread_call(agent->all->loop, reading_release, agent);
}
