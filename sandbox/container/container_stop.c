/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/container/container_stop.h"

#include <signal.h>

#include "common/error.h"
#include "common/semaphore.h"
#include "sandbox/container/container_pause.h"
#include "sandbox/container/container_signal.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pods/pod_rest.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/sandbox.h"

enum {
    SIGNAL_TIMEOUT_MS = 10 * 1000,
    KILLED_TIMEOUT_MS = 20 * 1000, /* from KILL to the recorded end */
    GONE_TIMEOUT_MS = 5 * 1000,    /* from the guest's end to the recorded end */
};

gboolean container_signal(Container *container, int signal, gboolean all, const Deadline *deadline,
                          GError **error)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__SignalRequest kill = CRIVIRT__AGENT__V1__SIGNAL_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, SIGNAL_TIMEOUT_MS);
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);

    if (agent == NULL)
        return FALSE;
    process.container_id = container->guest_id;
    kill.process = &process;
    kill.signal = signal;
    kill.all = all;
    return agent_signal(agent, &kill, &bounded, NULL, error);
}

/* Return: FALSE with an error when the container has not ended before the deadline. */
static gboolean container_wait_exited(Container *container, const Deadline *deadline, GError **error)
{
    Pod *pod = container->pod;
    static const char doing[] = "waiting for the container to end";
    gboolean good = TRUE;

    g_mutex_lock(&pod->lock);
    while (good && container->state == CONTAINER_RUNNING_STATE)
        good = pod_check_blocked_locked(pod, doing, error) &&
               deadline_cond_wait(deadline, &pod->changed, &pod->lock, doing, error);
    g_mutex_unlock(&pod->lock);
    return good;
}

static gboolean container_signal_and_wait(Container *container, gint64 timeout_s, const Deadline *deadline,
                                          GError **error)
{
    Deadline grace = deadline_sooner(deadline, CLAMP(timeout_s, 0, G_MAXINT / 1000) * 1000);
    Deadline killed;

    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return TRUE;
    if (timeout_s > 0) {
        if (!container_resume(container, deadline, error) ||
            !container_signal(container, container->stop_signal, FALSE, deadline, error))
            return FALSE;
        if (container_wait_exited(container, &grace, NULL))
            return TRUE;
        if (!deadline_check(deadline, "waiting for the container to end", error))
            return FALSE;
    }
    if (!container_signal(container, SIGKILL, TRUE, deadline, error))
        return FALSE;
    killed = deadline_sooner(deadline, KILLED_TIMEOUT_MS);
    return container_wait_exited(container, &killed, error);
}

static gboolean pod_guest_is_gone(Pod *pod)
{
    gboolean gone;

    g_mutex_lock(&pod->lock);
    gone = pod->lost != NULL || pod->state != POD_READY;
    g_mutex_unlock(&pod->lock);
    return gone;
}

/* The container may have ended meanwhile, alone or with its guest, which is what the caller asked for. */
gboolean container_stop_or_gone(Container *container, gint64 timeout_s, const Deadline *deadline,
                                GError **error)
{
    g_autoptr(GError) stop_error = NULL;
    Deadline moment;

    if (container_signal_and_wait(container, timeout_s, deadline, &stop_error))
        return TRUE;
    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return TRUE;
    pod_explain(container->pod, &stop_error);
    moment = deadline_sooner(deadline, GONE_TIMEOUT_MS);
    if (pod_guest_is_gone(container->pod) && container_wait_exited(container, &moment, NULL))
        return TRUE;
    g_propagate_prefixed_error(error, g_steal_pointer(&stop_error),
                               "cannot stop container %s: ", container->id);
    return FALSE;
}

/* Waits for its turn for as long as the grace period lasts: until no other call stops the container, and then
 * until other work on it is done. The job is not kept, so that an update does not wait for the grace.
 * *ret_acquired: whether the caller has stop_job; FALSE: the grace is over. */
static gboolean acquire_within_grace(Container *container, gint64 timeout_s, const Deadline *deadline,
                                     gboolean *ret_acquired, GError **error)
{
    static const char doing[] = "waiting for other work on the container";
    Deadline grace = deadline_sooner(deadline, CLAMP(timeout_s, 0, G_MAXINT / 1000) * 1000);

    *ret_acquired = timeout_s > 0 && semaphore_acquire(&container->stop_job, &grace, doing, NULL);
    if (*ret_acquired && semaphore_acquire(&container->job, &grace, doing, NULL)) {
        semaphore_release(&container->job);
    } else if (*ret_acquired) {
        semaphore_release(&container->stop_job);
        *ret_acquired = FALSE;
    }
    return *ret_acquired || deadline_check(deadline, doing, error);
}

/* The kubelet shortens the grace period on a forced deletion, an eviction and a shutdown of the node, so a
 * shorter grace takes effect while an earlier call waits out a longer one. The stop signal is the earlier
 * call's. */
gboolean container_stop(SandboxManager *manager, const char *id, gint64 timeout_s, const Deadline *deadline,
                        GError **error)
{
    const gint64 begin_us = g_get_monotonic_time();
    g_autoptr(Container) container = NULL;
    g_autoptr(PodTurn) turn = NULL;
    gboolean acquired;
    gboolean stopped;

    if (!manager_find_container_if_any(manager, id, &container, error))
        return FALSE;
    if (container == NULL)
        return TRUE;
    if (pod_is_hibernated(container->pod) && container_state(container) != CONTAINER_RUNNING_STATE)
        return TRUE; /* which needs no guest */
    turn = pod_turn_take(container->pod, POD_TURN_CHANGE, deadline, error);
    if (turn == NULL || !acquire_within_grace(container, timeout_s, deadline, &acquired, error))
        return FALSE;
    if (!acquired)
        return container_stop_or_gone(container, 0, deadline, error);
    timeout_s = MAX(timeout_s - (g_get_monotonic_time() - begin_us) / G_USEC_PER_SEC, 1);
    stopped = container_stop_or_gone(container, timeout_s, deadline, error);
    semaphore_release(&container->stop_job);
    return stopped;
}
