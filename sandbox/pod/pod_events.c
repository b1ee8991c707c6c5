/* SPDX-License-Identifier: Apache-2.0 */
/* Handles what guests report. Events arrive on the loop's thread or on libvirt's event thread, which must
 * not block, so workers do what takes time. */

#include "sandbox/pod/pod_events.h"

#include <string.h>

#include "common/child.h"
#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/pod/pod_cgroup.h"
#include "sandbox/pod/pod_share.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/guest_input.h"
#include "sandbox/pods/manager.h"
#include "sandbox/pods/pod.h"
#include "sandbox/pods/stream_sessions.h"
#include "sandbox/templates/unassigned_guest.h"

typedef Crivirt__Agent__V1__ContainerReport ContainerReport;

enum {
    THAW_TIMEOUT_MS = 60 * 1000,
    READY_TIMEOUT_MS = 10 * 1000, /* from the event to the readiness, which is a moment */
};

static Container *container_lookup(Pod *pod, const char *guest_id)
{
    Container *container;

    g_mutex_lock(&pod->lock);
    container = g_hash_table_lookup(pod->containers, guest_id);
    if (container != NULL)
        container_ref(container);
    g_mutex_unlock(&pod->lock);
    return container;
}

/* The process belongs to a removed container, or to an exec of a daemon that died: the agent may drop its
 * output. */
static void acknowledge_unwanted(Pod *pod, const Crivirt__Agent__V1__ProcessId *process,
                                 Crivirt__Agent__V1__Stream stream, guint64 offset, gboolean exited)
{
    g_autoptr(AgentConnection) agent = pod_any_agent(pod);

    if (agent != NULL)
        agent_connection_send_ack(agent, process->container_id, process->exec_id, stream, offset, exited);
}

static void on_output(const Crivirt__Agent__V1__Output *output, gpointer data)
{
    Pod *pod = data;
    g_autoptr(Container) container = container_lookup(pod, output->process->container_id);
    gboolean wanted = container != NULL;

    if (*output->process->exec_id != '\0') {
        wanted = stream_sessions_output(pod, output);
    } else if (wanted) {
        container_io_output(container->io, output);
        stream_sessions_attached_output(container, output);
    }
    if (!wanted)
        acknowledge_unwanted(pod, output->process, output->stream, output->offset + output->data.len, FALSE);
}

static void on_exited(const Crivirt__Agent__V1__Exited *exited, gpointer data)
{
    Pod *pod = data;
    g_autoptr(Container) container = container_lookup(pod, exited->process->container_id);
    ContainerExit end = {
        .exit_code = exited->exit_code,
        .reason = exited->oom_killed && exited->exit_code != 0 ? "OOMKilled" : NULL,
        .finished_at_ns = exited->finished_at_ns,
    };

    if (container != NULL && *exited->process->exec_id == '\0') {
        container_io_exited(container->io, &end, TRUE);
        stream_sessions_attached_exited(container, exited->exit_code);
        return;
    }
    /* All of its output arrived before, so the agent may drop it even if no client has read it yet. */
    stream_sessions_exited(pod, exited);
    acknowledge_unwanted(pod, exited->process, CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT, 0, TRUE);
}

static void on_input_ack(const Crivirt__Agent__V1__InputAck *ack, gpointer data)
{
    Pod *pod = data;
    g_autoptr(Container) container = container_lookup(pod, ack->process->container_id);

    if (*ack->process->exec_id != '\0')
        stream_sessions_input_acked(pod, ack);
    else if (container != NULL)
        stream_sessions_attached_input_acked(container, ack->offset);
}

/* Return: whether it was not known to run. The caller has the pod's lock. */
static gboolean set_running_locked(Container *container)
{
    if (container->state != CONTAINER_CREATED_STATE)
        return FALSE;
    container->state = CONTAINER_RUNNING_STATE;
    container->started_at_ns = time_now_ns();
    return TRUE;
}

static void announce_running(Container *container)
{
    container_save(container, NULL);
    container_announce(container, EVENT(STARTED));
}

/* After a reconnect: a container that ran before and that the agent has no record of has ended unobserved. */
static void container_reconcile(Container *container, const ContainerReport *report)
{
    static const ContainerExit lost = {
        .exit_code = 255,
        .reason = "Unknown",
        .message = "the guest's agent does not know the container any more",
    };
    gboolean started;

    if (report == NULL) {
        ContainerExit exit = lost;

        exit.finished_at_ns = time_now_ns();
        container_io_exited(container->io, &exit, FALSE);
        return;
    }
    g_mutex_lock(&container->pod->lock);
    /* Started by a daemon that died before it could record the start. */
    started = report->state != CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__CREATED &&
              set_running_locked(container);
    container->paused = report->paused;
    g_mutex_unlock(&container->pod->lock);
    if (started)
        announce_running(container);
}

/* StartContainer failed, because its client gave up or the guest stood still, and the guest has gone on. */
static void on_started_late(const char *container_id, gpointer data)
{
    Pod *pod = data;
    g_autoptr(Container) container = container_lookup(pod, container_id);
    gboolean started;

    if (container == NULL)
        return;
    g_mutex_lock(&pod->lock);
    started = set_running_locked(container);
    g_mutex_unlock(&pod->lock);
    if (!started)
        return;
    log_info(LOG_FIELDS("container", container->id, "sandbox", pod->id),
             "container %s started after its StartContainer had failed", container->config->metadata->name);
    announce_running(container);
}

static gboolean pod_is_saving(Pod *pod)
{
    gboolean saving;

    g_mutex_lock(&pod->lock);
    saving = pod->saving;
    g_mutex_unlock(&pod->lock);
    return saving;
}

/* The agent is ready only after the event. */
static void thaw_later(gpointer data)
{
    const Crivirt__Agent__V1__ThawRequest request = CRIVIRT__AGENT__V1__THAW_REQUEST__INIT;
    Pod *pod = data;
    g_autoptr(AgentConnection) agent = pod_any_agent(pod);
    Deadline deadline = deadline_in_ms(THAW_TIMEOUT_MS);
    g_autoptr(GError) problem = NULL;
    g_autoptr(GError) error = NULL;

    if (agent != NULL && !pod_share_unpark_queued(pod, agent, &deadline, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "the pod's volumes fail after a checkpoint: %s",
                  problem->message);
    if (agent != NULL && !agent_thaw(agent, &request, &deadline, NULL, &error))
        log_error(LOG_FIELDS("sandbox", pod->id),
                  "cannot thaw the containers of a guest that was being saved: %s", error->message);
    pod_unref(pod);
}

/* ---- containers that were removed ---- */

typedef struct {
    Pod *pod;
    GPtrArray *ids; /* in the guest; owned */
} RemovedCall;

static gboolean pod_has_container(Pod *pod, const char *guest_id)
{
    gboolean has;

    g_mutex_lock(&pod->lock);
    has = g_hash_table_contains(pod->containers, guest_id);
    g_mutex_unlock(&pod->lock);
    return has;
}

/* The agent is ready only after the event, and what is posted before is lost. A connection that ends
 * meanwhile is followed by another event. */
static void delete_removed_later(gpointer data)
{
    RemovedCall *call = data;
    Crivirt__Agent__V1__DeleteContainerRequest delete = CRIVIRT__AGENT__V1__DELETE_CONTAINER_REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_agent(call->pod, NULL);
    Deadline deadline = deadline_in_ms(READY_TIMEOUT_MS);
    const gboolean ready = agent != NULL && agent_connection_wait_ready(agent, &deadline, NULL);

    for (guint i = 0; ready && i < call->ids->len; i++) {
        delete.id = call->ids->pdata[i];
        if (!pod_has_container(call->pod, delete.id))
            agent_delete_container_post(agent, &delete);
    }
    g_ptr_array_unref(call->ids);
    pod_unref(call->pod);
    g_free(call);
}

/* RemoveContainer does not wait until the guest has removed an ended container, and its request may be lost.
 * A container that has not ended is left alone, whatever the reason is that there is no record of it. */
static void pod_delete_removed(Pod *pod, const Crivirt__Agent__V1__HelloResponse *hello)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    RemovedCall *call;

    for (size_t i = 0; i < hello->n_containers; i++) {
        const ContainerReport *report = hello->containers[i];

        if (report->state == CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__EXITED &&
            !pod_has_container(pod, report->id))
            g_ptr_array_add(ids, g_strdup(report->id));
    }
    if (ids->len == 0)
        return;
    call = g_new(RemovedCall, 1);
    *call = (RemovedCall){pod_ref(pod), g_steal_pointer(&ids)};
    manager_defer(pod->manager, delete_removed_later, call);
}

static void on_ready(const Crivirt__Agent__V1__HelloResponse *hello, gpointer data)
{
    Pod *pod = data;
    g_autoptr(GPtrArray) containers = NULL;

    if (pod_state(pod) != POD_READY)
        return; /* a guest that has just booted has nothing to report */
    if (!g_str_equal(hello->sandbox_id, pod->id)) {
        log_limited(&pod->guest_log, LOG_LEVEL_ERROR, LOG_FIELDS("sandbox", pod->id),
                    "the guest's agent reports that it serves sandbox \"%s\"", hello->sandbox_id);
        return;
    }
    g_mutex_lock(&pod->lock);
    pod->frozen = hello->frozen;
    g_mutex_unlock(&pod->lock);
    /* Left by a daemon that died while it saved the guest, or by a Thaw that the connection has lost. */
    if (hello->frozen && !pod_is_saving(pod))
        manager_defer(pod->manager, thaw_later, pod_ref(pod));
    pod_delete_removed(pod, hello);
    stream_sessions_resume(pod);
    containers = pod_containers(pod);
    for (guint i = 0; i < containers->len; i++) {
        Container *container = containers->pdata[i];
        const ContainerReport *report = NULL;
        ContainerState state = container_state(container);

        if (state != CONTAINER_CREATED_STATE && state != CONTAINER_RUNNING_STATE)
            continue;
        for (size_t j = 0; j < hello->n_containers && report == NULL; j++)
            if (g_str_equal(hello->containers[j]->id, container->guest_id))
                report = hello->containers[j];
        if (report != NULL)
            guest_input_resume(container->input, report->input_received);
        container_reconcile(container, report);
    }
}

static void on_notice(const char *message, gpointer data)
{
    Pod *pod = data;

    log_limited(&pod->guest_log, LOG_LEVEL_WARNING, LOG_FIELDS("sandbox", pod->id), "guest: %.500s", message);
}

typedef struct {
    Pod *pod;
    char *why;
} DeadCall;

/* The kubelet will create the pod again, so the guest must not resume. */
static void dead_later(gpointer data)
{
    DeadCall *call = data;
    Pod *pod = call->pod;
    g_autoptr(GError) error = NULL;

    if (pod_state(pod) == POD_READY) {
        pod_lost(pod, call->why);
        if (!pod->platform->destroy(pod, NULL, &error))
            log_error(LOG_FIELDS("sandbox", pod->id), "cannot end the guest whose agent does not answer: %s",
                      error->message);
    }
    pod_unref(pod);
    g_free(call->why);
    g_free(call);
}

static gboolean on_dead(const char *why, gpointer data)
{
    Pod *pod = data;
    DeadCall *call;

    if (vmm_is_blocked(pod->manager->vmm, pod->id) || pod_is_saving(pod))
        return FALSE;
    call = g_new(DeadCall, 1);
    *call = (DeadCall){pod_ref(pod), g_strdup(why)};
    manager_defer(pod->manager, dead_later, call);
    return TRUE;
}

static const AgentEvents agent_events = {.ready = on_ready,
                                         .output = on_output,
                                         .exited = on_exited,
                                         .input_ack = on_input_ack,
                                         .notice = on_notice,
                                         .started_late = on_started_late,
                                         .dead = on_dead};

/* Whoever waits for the guest learns at once that it cannot run. Runs on a thread of the Vmm. */
static void on_blocked(const char *text, gpointer data)
{
    Pod *pod = data;

    g_mutex_lock(&pod->lock);
    g_free(pod->blocked);
    pod->blocked = g_strdup(text);
    if (pod->agent != NULL)
        agent_connection_block(pod->agent, text);
    g_cond_broadcast(&pod->changed);
    g_mutex_unlock(&pod->lock);
    if (text != NULL)
        stream_sessions_wake(pod);
}

void pod_connect(Pod *pod, gboolean fresh)
{
    g_autofree char *socket = guest_agent_socket(&pod->manager->guests, pod->id);
    AgentConnection *agent = agent_connection_open(pod->manager->agents, socket, fresh, &agent_events, pod);

    g_mutex_lock(&pod->lock);
    pod->agent = agent;
    g_mutex_unlock(&pod->lock);
    if (pod->kind == HANDLER_VM)
        agent_connection_follow_clock(agent);
    if (pod->kind == HANDLER_VM)
        vmm_watch_blocked(pod->manager->vmm, pod->id, on_blocked, pod);
}

void pod_disconnect(Pod *pod)
{
    AgentConnection *agent;

    g_mutex_lock(&pod->lock);
    agent = g_steal_pointer(&pod->agent);
    g_mutex_unlock(&pod->lock);
    if (agent == NULL)
        return;
    if (pod->kind == HANDLER_VM)
        vmm_unwatch_blocked(pod->manager->vmm, pod->id, pod);
    g_mutex_lock(&pod->lock);
    g_clear_pointer(&pod->blocked, g_free);
    g_mutex_unlock(&pod->lock);
    agent_connection_close(agent);
    agent_connection_unref(agent);
}

/* ---- the guest's end ---- */

void pod_lost(Pod *pod, const char *why)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);
    g_autoptr(GError) error = NULL;
    ContainerExit exit = {
        .exit_code = 255, .reason = "Unknown", .message = why, .finished_at_ns = time_now_ns()};

    log_warning(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)), "%s", why);
    if (!pod_set_state(pod, POD_STOPPING, why, &error))
        log_error(LOG_FIELDS("sandbox", pod->id), "%s", error->message);
    stream_sessions_fail(pod, why);
    for (guint i = 0; i < containers->len; i++) {
        container_io_exited(((Container *)containers->pdata[i])->io, &exit, FALSE);
    }
}

typedef struct {
    Pod *pod;
    const char *why;
} LostCall;

static void lost_later(gpointer data)
{
    LostCall *call = data;

    g_autoptr(GError) error = NULL;

    /* A pod that is being started or stopped is handled by the call that does so. */
    if (pod_state(call->pod) == POD_READY) {
        pod_lost(call->pod, call->why);
        if (!call->pod->platform->destroy(call->pod, NULL, &error))
            log_error(LOG_FIELDS("sandbox", call->pod->id), "cannot end what is left of the sandbox: %s",
                      error->message);
    }
    pod_unref(call->pod);
    g_free(call);
}

/* Return: the pod, referenced; NULL: there is none of that id. */
static Pod *pod_lookup(SandboxManager *manager, const char *id)
{
    Pod *pod;

    g_mutex_lock(&manager->lock);
    pod = id_table_lookup(manager->pods, id);
    if (pod != NULL)
        pod_ref(pod);
    g_mutex_unlock(&manager->lock);
    return pod;
}

/* Takes the reference, and copies why. A VM that was destroyed may have been so by a start that tries another
 * one. The end of a hibernated pod's VM is not the pod's. */
static void report_end(SandboxManager *manager, Pod *pod, const char *why, VmmStopReason reason)
{
    gboolean by_itself = reason != VMM_STOPPED_DESTROYED;
    LostCall *call;

    g_mutex_lock(&pod->lock);
    if (pod->hibernated) {
        g_mutex_unlock(&pod->lock);
        pod_unref(pod);
        return;
    }
    why = g_string_chunk_insert_const(pod->reasons, why);
    if (by_itself || pod->state == POD_READY)
        pod->lost = why;
    pod->was_reset = reason == VMM_STOPPED_RESET;
    if (pod->agent != NULL)
        agent_connection_abandon(pod->agent, why);
    g_mutex_unlock(&pod->lock);
    call = g_new(LostCall, 1);
    *call = (LostCall){pod, why};
    manager_defer(manager, lost_later, call);
}

void manager_report_lost(SandboxManager *manager, const char *id, const char *why)
{
    Pod *pod = pod_lookup(manager, id);

    if (pod != NULL)
        report_end(manager, pod, why, VMM_STOPPED_CRASHED);
}

/* ---- explaining errors ---- */

/* How long the hypervisor may take to report an end that has already cut the connection, and how long the
 * connection may take to show an end that the hypervisor has already met: a process that dies closes one
 * descriptor after the other. */
enum { REPORT_TIMEOUT_MS = 2000, CUT_TIMEOUT_MS = 200, LOOK_EVERY_MS = 5 };

static const char *why_lost(Pod *pod, gboolean *ret_is_cut)
{
    const char *why;

    g_mutex_lock(&pod->lock);
    why = pod->lost;
    *ret_is_cut = pod->agent != NULL && !agent_connection_is_connected(pod->agent);
    g_mutex_unlock(&pod->lock);
    return why;
}

/* Return: NULL when the VM lives, or when its end is not known yet. */
static const char *why_lost_wait(Pod *pod)
{
    Deadline cut = deadline_in_ms(CUT_TIMEOUT_MS);
    Deadline report = deadline_in_ms(REPORT_TIMEOUT_MS);
    gboolean is_cut;
    const char *why;

    while ((why = why_lost(pod, &is_cut)) == NULL && deadline_check(is_cut ? &report : &cut, "", NULL))
        g_usleep((gulong)LOOK_EVERY_MS * 1000);
    return why;
}

gboolean pod_is_lost(Pod *pod)
{
    return why_lost_wait(pod) != NULL;
}

gboolean pod_may_explain(const GError *error)
{
    return error->code == STATUS_UNAVAILABLE || error->code == STATUS_INTERNAL ||
           error->code == STATUS_NOT_FOUND;
}

void pod_explain(Pod *pod, GError **error)
{
    const char *why;

    if (error == NULL || *error == NULL || !pod_may_explain(*error))
        return;
    why = why_lost_wait(pod);
    if (why == NULL)
        return;
    (*error)->code = STATUS_UNAVAILABLE;
    if (strstr((*error)->message, why) == NULL) {
        g_autofree char *message = (*error)->message;

        (*error)->message = g_strdup_printf("%s: %s", message, why);
    }
}

#define LACKED_MEMORY                                                                                        \
    "; the kernel has killed a process of this VM for lack of memory, by a limit of the pod's cgroup or of " \
    "one above it, or because the node has no more"

void pod_on_guest_stopped(const char *name, VmmStopReason reason, const char *text, gpointer data)
{
    SandboxManager *manager = data;
    Pod *pod = pod_lookup(manager, name);
    gboolean lacked_memory = pod != NULL && reason == VMM_STOPPED_CRASHED && pod_cgroup_lacked_memory(pod);
    g_autofree char *why = g_strdup_printf("the pod's virtual machine has ended: %s%s", text,
                                           lacked_memory ? LACKED_MEMORY : "");

    if (pod != NULL && reason == VMM_STOPPED_CRASHED)
        child_count_death(CHILD_QEMU);
    if (pod != NULL)
        report_end(manager, pod, why, reason);
}
