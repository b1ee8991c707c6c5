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

/* Holds the writing side when all of it has reached QEMU, whole messages only. */
static gboolean try_hold(AgentConnection *agent)
{
    int waiting = 0;

    g_mutex_lock(&agent->lock);
    agent->held =
        agent->ready && agent->queue.length == 0 && ioctl(agent->fd, SIOCOUTQ, &waiting) == 0 && waiting == 0;
    g_mutex_unlock(&agent->lock);
    return agent->held;
}

gboolean agent_connection_hold(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    while (!try_hold(agent)) {
        if (!deadline_check(deadline, "waiting until the guest's agent has read what was sent", error))
            return FALSE;
        g_usleep(LOOK_EVERY_US);
    }
    loop_thread_call(agent->all->loop, reading_hold, agent);
    return TRUE;
}

void agent_connection_release(AgentConnection *agent)
{
    g_mutex_lock(&agent->lock);
    agent->held = FALSE;
    agent->clock.due_us = 0; /* the guest has stood still, and its clock perhaps with it */
    agent_queue_write_locked(agent);
    g_mutex_unlock(&agent->lock);
    loop_thread_call(agent->all->loop, reading_release, agent);
}
