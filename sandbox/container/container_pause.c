/* SPDX-License-Identifier: Apache-2.0 */
/* Pause and unpause, which the CRI does not have: the agent freezes the container's cgroup. The agent is the
 * one that remembers it: after a restart of the daemon, its first message reports which containers are
 * paused. */
#include "sandbox/container/container_pause.h"

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/sandbox.h"

enum { PAUSE_TIMEOUT_MS = 30 * 1000 };

gboolean container_is_paused(Container *container)
{
    gboolean paused;

    g_mutex_lock(&container->pod->lock);
    paused = container->paused && container->state == CONTAINER_RUNNING_STATE;
    g_mutex_unlock(&container->pod->lock);
    return paused;
}

static gboolean pause_in_guest(Container *container, gboolean paused, const Deadline *deadline,
                               GError **error)
{
    Crivirt__Agent__V1__PauseContainerRequest call = CRIVIRT__AGENT__V1__PAUSE_CONTAINER_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, PAUSE_TIMEOUT_MS);
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);

    if (agent == NULL ||
        !agent_connection_check_protocol(agent, WIRE_PROTOCOL_GUEST, "pausing a container", error))
        return FALSE;
    call.id = container->guest_id;
    call.paused = paused;
    if (!agent_pause_container(agent, &call, &bounded, NULL, error))
        return FALSE;
    g_mutex_lock(&container->pod->lock);
    container->paused = paused;
    g_mutex_unlock(&container->pod->lock);
    return TRUE;
}

gboolean container_resume(Container *container, const Deadline *deadline, GError **error)
{
    return !container_is_paused(container) || pause_in_guest(container, FALSE, deadline, error);
}

static gboolean container_pause_in_job(Container *container, gboolean paused, const Deadline *deadline,
                                       GError **error)
{
    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is not running", container->id);
    if (pause_in_guest(container, paused, deadline, error))
        return TRUE;
    pod_explain(container->pod, error);
    g_prefix_error(error, "cannot %s container %s: ", paused ? "pause" : "unpause", container->id);
    return FALSE;
}

gboolean container_pause(SandboxManager *manager, const char *id, gboolean paused, const Deadline *deadline,
                         GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, id, error);
    g_autoptr(PodTurn) turn = NULL;
    gboolean done;

    if (container == NULL)
        return FALSE;
    turn = pod_turn_take(container->pod, POD_TURN_CHANGE, deadline, error);
    if (turn == NULL ||
        !semaphore_acquire(&container->job, deadline, "waiting for other work on the container", error))
        return FALSE;
    done = container_pause_in_job(container, paused, deadline, error);
    semaphore_release(&container->job);
    if (done)
        log_info(LOG_FIELDS("container", container->id, "sandbox", container->pod->id), "container %s %s",
                 container->config->metadata->name, paused ? "paused" : "unpaused");
    return done;
}
