/* SPDX-License-Identifier: Apache-2.0 */
/* StartContainer and ReopenContainerLog. */

#include "common/error.h"
#include "common/fileio.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/sandbox.h"

enum { START_TIMEOUT_MS = 60 * 1000 }; /* enough for a busy guest */

static gboolean container_open_log(Container *container, GError **error)
{
    g_autofree char *cursors = g_build_filename(container->pod->state_dir, container->id, NULL);
    g_autofree char *directory = container->log_path != NULL ? g_path_get_dirname(container->log_path) : NULL;
    g_autofree char *cursor = g_build_filename(cursors, "log-cursor", NULL);

    return dir_make(cursors, 0700, error) && (directory == NULL || dir_make(directory, 0755, error)) &&
           container_io_open_log(container->io, container->log_path, cursor, error);
}

static gboolean container_start_in_guest(Container *container, const Deadline *deadline,
                                         gint64 *ret_started_at_ns, GError **error)
{
    Crivirt__Agent__V1__StartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);
    Deadline bounded = deadline_sooner(deadline, START_TIMEOUT_MS);
    gint64 asked_at_ns = time_now_ns();
    gint64 begin_us = g_get_monotonic_time();
    g_autoptr(AgentStartContainerResponse) response = NULL;

    start.id = container->guest_id;
    if (agent == NULL || !container_open_log(container, error) ||
        !agent_start_container(agent, &start, &bounded, &response, error))
        return FALSE;
    trace_add(container->pod->trace, TRACE_START_CONTAINER, container->config->metadata->name, begin_us);
    /* The guest's clock may differ slightly from the node's, so the guest's time is limited to the duration
     * of this call. */
    *ret_started_at_ns = CLAMP(response->started_at_ns, asked_at_ns, time_now_ns());
    return TRUE;
}

static gboolean container_start_in_job(Container *container, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) start_error = NULL;
    ContainerState state = container_state(container);
    gint64 started_at_ns = 0;

    if (state != CONTAINER_CREATED_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is %s", container->id,
                    state == CONTAINER_RUNNING_STATE ? "already running" : "not in the created state");
    if (!container_start_in_guest(container, deadline, &started_at_ns, &start_error)) {
        pod_explain(container->pod, &start_error);
        /* Only a refusal by the guest ends the container. When the sandbox is not ready or the call times
         * out, the container stays created. */
        if (start_error->code == STATUS_INTERNAL || start_error->code == STATUS_INVALID_ARGUMENT)
            container_set_exited(container, 128, "StartError", start_error->message, time_now_ns());
        g_propagate_prefixed_error(error, g_steal_pointer(&start_error),
                                   "cannot start container %s: ", container->id);
        return FALSE;
    }
    g_mutex_lock(&container->pod->lock);
    container->started_at_ns = started_at_ns;
    if (container->state == CONTAINER_CREATED_STATE)
        container->state = CONTAINER_RUNNING_STATE;
    else if (container->finished_at_ns < started_at_ns) /* the container has ended already */
        container->started_at_ns = container->finished_at_ns;
    g_mutex_unlock(&container->pod->lock);
    if (!container_save(container, error))
        return FALSE;
    container_announce(container, EVENT(STARTED));
    return TRUE;
}

gboolean container_start(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, id, error);
    g_autoptr(PodTurn) turn =
        container != NULL ? pod_turn_take(container->pod, POD_TURN_CHANGE, deadline, error) : NULL;
    gboolean started;

    if (turn == NULL ||
        !semaphore_acquire(&container->job, deadline, "waiting for other work on the container", error))
        return FALSE;
    started = container_start_in_job(container, deadline, error);
    semaphore_release(&container->job);
    if (started)
        log_info(LOG_FIELDS("container", container->id, "sandbox", container->pod->id),
                 "container %s started", container->config->metadata->name);
    return started;
}

gboolean container_reopen_log(SandboxManager *manager, const char *id, const Deadline *deadline,
                              GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, id, error);
    g_autoptr(PodTurn) turn =
        container != NULL ? pod_turn_take_asleep(container->pod, POD_TURN_CHANGE, error) : NULL;

    (void)deadline;
    if (turn == NULL)
        return FALSE;
    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is not running", container->id);
    return container_io_reopen_log(container->io, error);
}
