/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the channel still while the state of its guest is saved. QEMU moves bytes between the socket and the
 * guest's memory also while the guest is paused: the memory would no longer fit the state of the devices. */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/error.h"
#include "common/source.h"
#include "sandbox/agent/agent_connection_private.h"

enum { LOOK_EVERY_US = 500 };

typedef struct {
    AgentConnection *agent;
    gboolean hold;
    GMutex lock;
    GCond changed;
    gboolean done;
} ReadingCall;

static void reading_on_loop(gpointer data)
{
    ReadingCall *call = data;
    AgentConnection *agent = call->agent;

    if (call->hold)
        source_drop(&agent->reader);
    else if (agent->fd >= 0 && agent->reader == NULL && agent->resume == NULL)
        agent_reading_start(agent);
    g_mutex_lock(&call->lock);
    call->done = TRUE;
    g_cond_signal(&call->changed);
    g_mutex_unlock(&call->lock);
}

static void reading_switch(AgentConnection *agent, gboolean hold)
{
    ReadingCall call = {.agent = agent, .hold = hold};

    g_mutex_init(&call.lock);
    g_cond_init(&call.changed);
    loop_thread_after(agent->all->loop, 0, reading_on_loop, &call);
    g_mutex_lock(&call.lock);
    while (!call.done)
        g_cond_wait(&call.changed, &call.lock);
    g_mutex_unlock(&call.lock);
    g_mutex_clear(&call.lock);
    g_cond_clear(&call.changed);
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
    reading_switch(agent, TRUE);
    return TRUE;
}

void agent_connection_release(AgentConnection *agent)
{
    g_mutex_lock(&agent->lock);
    agent->held = FALSE;
    agent->clock.due_us = 0; /* the guest has stood still, and its clock perhaps with it */
    agent_queue_write_locked(agent);
    g_mutex_unlock(&agent->lock);
    reading_switch(agent, FALSE);
}
