/* The CRI's verbs on sandboxes. */

#include <signal.h>
#include <string.h>

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "sandbox/host/cgroup.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/host_request.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/pod.h"
#include "sandbox/templates/vm_pool.h"

enum {
    /* What the containers of a pod that is being stopped have between KILL and the end of the guest: enough
     * for the rest of their logs and their true exit codes. */
    KILLED_TIMEOUT_MS = 2 * 1000,
    END_TIMEOUT_MS = 100 * 1000,
};

/* ---- run ---- */

/* Which of the node's namespaces the pod asks for; NULL: none. */
static const char *node_namespace(const Runtime__V1__PodSandboxConfig *config)
{
    const Runtime__V1__NamespaceOption *options = pod_namespaces(config);

    if (options->network == RUNTIME__V1__NAMESPACE_MODE__NODE)
        return "network";
    if (options->pid == RUNTIME__V1__NAMESPACE_MODE__NODE)
        return "pid";
    return options->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE ? "ipc" : NULL;
}

static gboolean namespaces_check(const Runtime__V1__PodSandboxConfig *config, const Handler *handler,
                                 GError **error)
{
    const char *refused = node_namespace(config);

    if (handler->kind == HANDLER_HOST)
        return host_request_check(config, error);
    if (refused != NULL)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "linux.security_context.namespace_options.%s: a pod in a virtual machine cannot have the node's "
            "own namespace",
            refused);
    return oci_userns_check(pod_namespaces(config)->userns_options, error);
}

static gboolean port_mappings_check(const Runtime__V1__PodSandboxConfig *config, GError **error)
{
    for (size_t i = 0; i < config->n_port_mappings; i++) {
        const Runtime__V1__PortMapping *mapping = config->port_mappings[i];

        if (mapping->host_port < 0 || mapping->host_port > 65535 || mapping->container_port < 0 ||
            mapping->container_port > 65535)
            return fail(error, STATUS_INVALID_ARGUMENT, "config.port_mappings: %d:%d is out of range",
                        mapping->host_port, mapping->container_port);
    }
    return TRUE;
}

static gboolean cgroup_parent_check(const Runtime__V1__LinuxPodSandboxConfig *config, GError **error)
{
    g_autofree char *path = NULL;

    return config == NULL || *config->cgroup_parent == '\0' ||
           cgroup_parent_path(config->cgroup_parent, &path, error);
}

/* A pod that names no handler and needs the node gets the one for that, where there is one. */
static const Handler *handler_choose(SandboxManager *manager,
                                     const Runtime__V1__RunPodSandboxRequest *request, GError **error)
{
    const Handler *host = handler_table_find_kind(manager->handlers, HANDLER_HOST);

    if (*request->runtime_handler == '\0' && host != NULL && node_namespace(request->config) != NULL)
        return host;
    return handler_table_find(manager->handlers, request->runtime_handler, error);
}

/* The handler and what the pod asks of it, by its annotations and its namespaces. */
static gboolean handler_check(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                              GError **error)
{
    const Handler *handler = handler_choose(manager, request, error);
    g_auto(HandlerSettings) settings = {0};

    return handler != NULL && handler_settings(handler, request->config, &settings, error) &&
           namespaces_check(request->config, handler, error);
}

static gboolean request_check(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                              GError **error)
{
    const Runtime__V1__PodSandboxConfig *config = request->config;

    if (config == NULL || config->metadata == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "config.metadata: it is missing");
    if (*config->metadata->name == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.metadata.name: it is missing");
    if (*config->log_directory != '\0' && *config->log_directory != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.log_directory: \"%s\" is not absolute",
                    config->log_directory);
    return handler_check(manager, request, error) && port_mappings_check(config, error) &&
           cgroup_parent_check(config->linux, error);
}

static Pod *pod_make_with_id(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                             const char *id)
{
    const Handler *handler = handler_choose(manager, request, NULL);

    return pod_new(manager, id, cri_dup(&request->config->base), handler->name, handler->kind, time_now_ns());
}

/* Where a machine waits for just such a pod, its id is the pod's. */
static Pod *pod_make(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request)
{
    g_autofree char *id = id_new();
    g_autoptr(Pod) pod = pod_make_with_id(manager, request, id);
    Template *template = NULL;
    g_autofree char *waiting = pod->platform->find_waiting(pod, &template);

    if (waiting == NULL)
        return g_steal_pointer(&pod);
    pod_unref(pod);
    pod = pod_make_with_id(manager, request, waiting);
    pod->waiting_for = template;
    return g_steal_pointer(&pod);
}

/* Finds the pod of that name, or registers a new one in the same step, so that two calls cannot both make it.
 */
static Pod *find_or_register(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                             gboolean *ret_is_new)
{
    g_autoptr(Pod) fresh = pod_make(manager, request);
    Pod *pod;

    g_mutex_lock(&manager->lock);
    pod = manager_namesake_locked(manager, request->config->metadata);
    *ret_is_new = pod == NULL;
    if (pod != NULL) {
        pod_ref(pod);
    } else {
        pod = pod_ref(fresh);
        semaphore_acquire(&pod->job, NULL, "making the sandbox", NULL);
        manager_add_pod_locked(manager, pod);
    }
    g_mutex_unlock(&manager->lock);
    if (pod != fresh && fresh->waiting_for != NULL)
        vm_pool_give_back(manager->pool, g_strdup(fresh->id), fresh->waiting_for);
    return pod;
}

/* Under the pod's job. */
static gboolean run_new(Pod *pod, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();

    if (!pod_set_state(pod, POD_STARTING, NULL, error) || !pod->platform->start(pod, deadline, error) ||
        !pod_set_state(pod, POD_READY, NULL, error))
        return FALSE;
    if (pod->lost != NULL) /* too late for the start to fail, too early for a pod that is ready */
        manager_report_lost(pod->manager, pod->id, pod->lost);
    log_info(
        LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod), "ip", pod->ips[0] != NULL ? pod->ips[0] : ""),
        "sandbox is ready after %" G_GINT64_FORMAT " ms", (g_get_monotonic_time() - begin_us) / 1000);
    return TRUE;
}

/* A failed start has been undone; unless something could not be, nothing is left to list. */
static void forget_failed(Pod *pod)
{
    g_autoptr(GError) error = NULL;

    if (pod_state(pod) != POD_STARTING)
        return;
    if (!state_store_delete_pod(pod->manager->store, pod->id, &error)) {
        log_error(LOG_FIELDS("sandbox", pod->id), "%s", error->message);
        return;
    }
    manager_remove_pod(pod->manager, pod);
}

gboolean sandbox_run(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                     const Deadline *deadline, char **ret_id, GError **error)
{
    gboolean done = FALSE;
    gboolean good = request_check(manager, request, error);

    while (good && !done) {
        gboolean is_new;
        g_autoptr(Pod) pod = find_or_register(manager, request, &is_new);

        if (is_new) {
            good = done = run_new(pod, deadline, error);
            if (!good)
                forget_failed(pod);
            semaphore_release(&pod->job);
        } else if (semaphore_acquire(&pod->job, deadline, "waiting for the same sandbox being made", error)) {
            /* The outcome of an earlier try is ours; what is left of one that came to nothing makes room. */
            done = pod_state(pod) == POD_READY;
            semaphore_release(&pod->job);
            good = done || sandbox_remove(manager, pod->id, deadline, error);
        } else {
            good = FALSE;
        }
        if (done)
            *ret_id = g_strdup(pod->id);
        if (!good)
            g_prefix_error(error, "sandbox %s/%s: ", request->config->metadata->namespace_,
                           request->config->metadata->name);
    }
    return good;
}

/* ---- stop ---- */

/* Best effort: the guest ends anyway. */
static void kill_containers(Pod *pod)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);
    Deadline deadline = deadline_in_ms(KILLED_TIMEOUT_MS);
    gboolean in_time = pod_state(pod) == POD_READY;

    for (guint i = 0; in_time && i < containers->len; i++)
        if (container_state(containers->pdata[i]) == CONTAINER_RUNNING_STATE)
            container_signal(containers->pdata[i], SIGKILL, TRUE, &deadline, NULL);
    g_mutex_lock(&pod->lock);
    for (guint i = 0; in_time && i < containers->len; i++)
        while (in_time && ((Container *)containers->pdata[i])->state == CONTAINER_RUNNING_STATE)
            in_time =
                deadline_cond_wait(&deadline, &pod->changed, &pod->lock, "waiting for containers", NULL);
    g_mutex_unlock(&pod->lock);
}

/* What did not report its own end died with the guest. */
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

/* Under the pod's job. */
static gboolean stop_locked(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, END_TIMEOUT_MS);
    g_autoptr(GError) unsaved = NULL;

    if (pod_state(pod) == POD_STOPPED)
        return TRUE;
    kill_containers(pod);
    /* A full disk must not keep the pod that fills it. Without this row a daemon that comes now finds a pod
     * whose guest is gone, which comes to the same. */
    if (!pod_set_state(pod, POD_STOPPING, NULL, &unsaved))
        log_warning(LOG_FIELDS("sandbox", pod->id), "stopping all the same: %s", unsaved->message);
    pod_disconnect(pod);
    if (!pod->platform->destroy(pod, &bounded, error))
        return FALSE;
    end_containers(pod); /* which is true whatever comes of the rest */
    if (!pod->platform->end(pod, &bounded, error))
        return FALSE;
    return pod_set_state(pod, POD_STOPPED, NULL, error);
}

/* work under the pod's job; a pod that does not exist needs none. done names what has been done, for the log.
 */
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
    good = work(pod, deadline, error);
    semaphore_release(&pod->job);
    if (good)
        log_info(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)), "sandbox %s", done);
    else
        g_prefix_error(error, "cannot %s sandbox %s: ", doing, pod->id);
    return good;
}

gboolean sandbox_stop(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    return work_on_pod(manager, id, deadline, stop_locked, "stop", "stopped", error);
}

/* ---- remove ---- */

/* Under the pod's job. */
static gboolean remove_locked(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(GPtrArray) containers = NULL;

    if (!stop_locked(pod, deadline, error))
        return FALSE;
    containers = pod_containers(pod);
    for (guint i = 0; i < containers->len; i++)
        if (!container_forget(containers->pdata[i], error))
            return FALSE;
    if (!state_store_delete_pod(pod->manager->store, pod->id, error))
        return FALSE;
    manager_remove_pod(pod->manager, pod);
    event_publish(pod->manager->events, EVENT(DELETED), pod->id, pod);
    return TRUE;
}

gboolean sandbox_remove(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    gboolean removed = work_on_pod(manager, id, deadline, remove_locked, "remove", "removed", error);

    manager_trim(manager);
    return removed;
}
