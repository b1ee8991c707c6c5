/* SPDX-License-Identifier: Apache-2.0 */
/* StopPodSandbox and RemovePodSandbox. */
#include <signal.h>

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/container/container_remove.h"
#include "sandbox/container/container_signal.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_watch.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/manager.h"
#include "sandbox/pods/pod_rest.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/stream_sessions.h"
#include "sandbox/sandbox.h"
#include "sandbox/state/state_store.h"
#include "sandbox/templates/vm_pool.h"

enum {
    /* What the containers of a pod that is being stopped have between KILL and the end of the guest: enough
     * for the rest of their logs and their true exit codes. */
    KILLED_TIMEOUT_MS = 2 * 1000,
    END_TIMEOUT_MS = 100 * 1000,
};

/* The guest ends whatever comes of this, so a failure is no error. */
static void kill_containers(Pod *pod)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);
    Deadline deadline = deadline_in_ms(KILLED_TIMEOUT_MS);
    gboolean in_time = pod_state(pod) == POD_READY && !pod_is_hibernated(pod);

    for (guint i = 0; in_time && i < containers->len; i++)
        if (container_state(containers->pdata[i]) == CONTAINER_RUNNING_STATE)
            container_signal(containers->pdata[i], SIGKILL, TRUE, &deadline, NULL);
    g_mutex_lock(&pod->lock);
    for (guint i = 0; in_time && i < containers->len; i++)
        while (in_time && ((Container *)containers->pdata[i])->state == CONTAINER_RUNNING_STATE)
            in_time =
                pod_check_blocked_locked(pod, "", NULL) &&
                deadline_cond_wait(&deadline, &pod->changed, &pod->lock, "waiting for containers", NULL);
    g_mutex_unlock(&pod->lock);
}

/* A container that did not report its own end died with the guest, whatever comes of the rest of the pod. */
static void end_containers(Pod *pod)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);

    stream_sessions_fail(pod, "the sandbox was stopped");
    for (guint i = 0; i < containers->len; i++) {
        Container *container = containers->pdata[i];
        ContainerState state = container_state(container);

        if (state == CONTAINER_RUNNING_STATE || state == CONTAINER_CREATED_STATE)
            container_set_exited(container, 137, "Error", "the sandbox was stopped", time_now_ns());
    }
}

/* A pod that is not READY is not hibernated either; the saved memory is removed with its files. */
static void set_awake(Pod *pod)
{
    g_mutex_lock(&pod->lock);
    pod->hibernated = FALSE;
    g_mutex_unlock(&pod->lock);
}

static gboolean stop_in_job(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, END_TIMEOUT_MS);
    g_autoptr(GError) unsaved = NULL;

    if (pod_state(pod) == POD_STOPPED)
        return TRUE;
    kill_containers(pod);
    pod_watch_end(pod);
    set_awake(pod);
    /* A pod that fills the disk must be stoppable. Without this row the next daemon finds a pod whose guest
     * is gone, and ends it all the same. */
    if (!pod_set_state(pod, POD_STOPPING, NULL, &unsaved))
        log_warning(LOG_FIELDS("sandbox", pod->id),
                    "cannot record that the sandbox is stopping; it is stopped all the same: %s",
                    unsaved->message);
    pod_disconnect(pod);
    return pod->platform->end(pod, end_containers, &bounded, error) &&
           pod_set_state(pod, POD_STOPPED, NULL, error);
}

/* Calls work under the pod's job. A pod that does not exist needs no work, which is success. doing and done
 * are verbs for messages ("stop", "stopped"). */
static gboolean work_on_pod(SandboxManager *manager, const char *id, const Deadline *deadline,
                            gboolean (*work)(Pod *, const Deadline *, GError **), const char *doing,
                            const char *done, GError **error)
{
    g_autoptr(Pod) pod = NULL;
    gboolean good;

    if (!manager_find_pod_if_any(manager, id, &pod, error))
        return FALSE;
    if (pod == NULL)
        return TRUE;
    if (!semaphore_acquire(&pod->job, deadline, "waiting for other work on the sandbox", error))
        return FALSE;
    vm_pool_begin_work(manager->pool);
    good = work(pod, deadline, error);
    vm_pool_end_work(manager->pool);
    semaphore_release(&pod->job);
    if (good)
        log_info(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)), "sandbox %s", done);
    else
        g_prefix_error(error, "cannot %s sandbox %s: ", doing, pod->id);
    return good;
}

gboolean sandbox_stop(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    return work_on_pod(manager, id, deadline, stop_in_job, "stop", "stopped", error);
}

/* ---- remove ---- */

static gboolean remove_in_job(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(GPtrArray) containers = NULL;

    if (!stop_in_job(pod, deadline, error))
        return FALSE;
    containers = pod_containers(pod);
    for (guint i = 0; i < containers->len; i++)
        if (!container_forget(containers->pdata[i], deadline, error))
            return FALSE;
    if (!state_store_delete_pod(pod->manager->store, pod->id, error))
        return FALSE;
    manager_remove_pod(pod->manager, pod);
    event_publish(pod->manager->events, EVENT(DELETED), pod->id, pod);
    return TRUE;
}

gboolean sandbox_remove(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    gboolean removed = work_on_pod(manager, id, deadline, remove_in_job, "remove", "removed", error);

    manager_trim(manager);
    return removed;
}
