/* SPDX-License-Identifier: Apache-2.0 */
/* RunPodSandbox: the request is parsed once, and the pod that it asks for is found or started. */

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/host/cgroup.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/host_request.h"
#include "sandbox/pod/platforms.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_network.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "sandbox/sandbox_start.h"
#include "sandbox/state/state_store.h"
#include "sandbox/templates/vm_pool.h"

/* ---- the request ---- */

/* Return: which of the node's namespaces the pod asks for; NULL: none. */
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

    if (handler_is_host(handler))
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

/* A pod that names no handler but needs the node gets the host handler, where there is one. */
static const Handler *handler_choose(const GPtrArray *handlers,
                                     const Runtime__V1__RunPodSandboxRequest *request, GError **error)
{
    const Handler *host = handler_find_kind(handlers, HANDLER_HOST);

    if (*request->runtime_handler == '\0' && host != NULL && node_namespace(request->config) != NULL)
        return host;
    return handler_find(handlers, request->runtime_handler, error);
}

static gboolean fields_check(const Runtime__V1__PodSandboxConfig *config, GError **error)
{
    if (config == NULL || config->metadata == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "config.metadata: it is missing");
    if (*config->metadata->name == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.metadata.name: it is missing");
    if (*config->log_directory != '\0' && *config->log_directory != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.log_directory: \"%s\" is not absolute",
                    config->log_directory);
    return TRUE;
}

static gboolean size_compute(PodRequest *request, GError **error)
{
    const Runtime__V1__LinuxPodSandboxConfig *linux_config = request->config->linux;
    const NodeCapacity node = node_capacity();

    return handler_is_host(request->handler) ||
           vm_size_compute(linux_config != NULL ? linux_config->resources : NULL, "config.linux.resources",
                           &request->settings.bounds, &node, &request->size, error);
}

gboolean sandbox_request_parse(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                               PodRequest *ret_parsed, GError **error)
{
    const Runtime__V1__PodSandboxConfig *config = request->config;

    if (!fields_check(config, error))
        return FALSE;
    ret_parsed->config = config;
    ret_parsed->node_settings = live_settings_get(manager->live);
    ret_parsed->handler = handler_choose(ret_parsed->node_settings->handlers, request, error);
    return ret_parsed->handler != NULL &&
           handler_allows(ret_parsed->handler, ret_parsed->node_settings, config->metadata->namespace_,
                          error) &&
           handler_settings(ret_parsed->handler, config, &ret_parsed->settings, error) &&
           namespaces_check(config, ret_parsed->handler, error) && port_mappings_check(config, error) &&
           cgroup_parent_check(config->linux, error) && size_compute(ret_parsed, error);
}

/* ---- the pod of a request ---- */

/* A restored guest has agreed with a file server before. */
static void volumes_choose(Pod *pod, const PodRequest *request)
{
    const Checkpoint *saved = request->checkpoint;
    const gboolean agreed = saved != NULL && saved->share != 0;

    g_free(pod->volume_cache);
    pod->volume_cache = g_strdup(agreed ? saved->volume_cache : request->handler->volume_cache);
    pod->volume_locks = agreed ? saved->volume_locks : request->handler->volume_locks;
}

/* Where the pool has a VM for just such a pod, the VM's id is the pod's, and so is its network. */
static Pod *pod_create(SandboxManager *manager, const PodRequest *request)
{
    const Handler *handler = request->handler;
    const PodPlatform *platform = pod_platform(handler_kind(handler));
    PooledGuest guest = {0};
    Template *template = platform->take_pooled(manager, request, &guest);
    g_autofree char *id = template != NULL ? guest.id : id_new();
    Pod *pod;

    pod = pod_new(manager, request->node_settings, id, cri_dup(&request->config->base), handler->name,
                  handler_kind(handler), platform, time_now_ns());
    pod->pooled_template = template;
    if (guest.network != NULL)
        pod_network_take(pod, guest.network);
    pod->vm_size = request->size;
    volumes_choose(pod, request);
    return pod;
}

/* For a pod that has not started and is in no table. */
static void pooled_guest_return(Pod *pod)
{
    const PooledGuest guest = {g_strdup(pod->id), g_steal_pointer(&pod->pooled_network)};

    vm_pool_give_back(pod->manager->pool, &guest, pod->pooled_template);
}

/* Finds the pod of that name, or registers a new one in the same step, so that two calls cannot both start
 * it. */
static Pod *find_or_register(SandboxManager *manager, const PodRequest *request, gboolean *ret_is_new)
{
    g_autoptr(Pod) fresh = pod_create(manager, request);
    Pod *pod;

    g_mutex_lock(&manager->lock);
    pod = manager_namesake_locked(manager, request->config->metadata);
    *ret_is_new = pod == NULL;
    if (pod != NULL) {
        pod_ref(pod);
    } else {
        pod = pod_ref(fresh);
        semaphore_acquire(&pod->job, NULL, "starting the sandbox", NULL);
        manager_add_pod_locked(manager, pod);
    }
    g_mutex_unlock(&manager->lock);
    if (pod != fresh && fresh->pooled_template != NULL)
        pooled_guest_return(fresh);
    return pod;
}

static gboolean run_new_in_job(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();
    gboolean started;

    vm_pool_begin_work(pod->manager->pool);
    started = pod_set_state(pod, POD_STARTING, NULL, error) &&
              pod->platform->start(pod, request, deadline, error) &&
              pod_set_state(pod, POD_READY, NULL, error);
    vm_pool_end_work(pod->manager->pool);
    if (!started)
        return FALSE;
    if (pod->lost != NULL) /* it ended after the start was checked and before the pod was ready */
        manager_report_lost(pod->manager, pod->id, pod->lost);
    log_info(
        LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod), "ip", pod->ips[0] != NULL ? pod->ips[0] : ""),
        "sandbox is ready after %" G_GINT64_FORMAT " ms", (g_get_monotonic_time() - begin_us) / 1000);
    return TRUE;
}

/* A failed start has been undone, unless something could not be undone: then the pod stays listed. */
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
    /* The start has not begun, because the pod's row could not be written. */
    if (pod->pooled_template != NULL)
        pooled_guest_return(pod);
}

/* The outcome of an earlier call for the same pod is this call's outcome; what is left of an earlier call
 * that failed makes room. *ret_done: the pod is ready, else the caller tries again. */
static gboolean join_earlier_call(Pod *pod, const Deadline *deadline, gboolean *ret_done, GError **error)
{
    if (!semaphore_acquire(&pod->job, deadline, "waiting for an earlier call that starts the same sandbox",
                           error))
        return FALSE;
    *ret_done = pod_state(pod) == POD_READY;
    semaphore_release(&pod->job);
    return *ret_done || sandbox_remove(pod->manager, pod->id, deadline, error);
}

static gboolean run_parsed(SandboxManager *manager, const PodRequest *request, const Deadline *deadline,
                           char **ret_id, GError **error)
{
    gboolean done = FALSE;
    gboolean good = TRUE;

    while (good && !done) {
        gboolean is_new;
        g_autoptr(Pod) pod = find_or_register(manager, request, &is_new);

        if (is_new) {
            good = done = run_new_in_job(pod, request, deadline, error);
            if (!good)
                forget_failed(pod);
            semaphore_release(&pod->job);
        } else {
            good = join_earlier_call(pod, deadline, &done, error);
        }
        if (good && done)
            *ret_id = g_strdup(pod->id);
    }
    return good;
}

gboolean sandbox_start_new(SandboxManager *manager, const PodRequest *request, const Deadline *deadline,
                           Pod **ret_pod, GError **error)
{
    gboolean is_new;
    g_autoptr(Pod) pod = find_or_register(manager, request, &is_new);
    gboolean started;

    if (!is_new)
        return fail(error, STATUS_ALREADY_EXISTS, "the sandbox exists already: %s", pod->id);
    started = run_new_in_job(pod, request, deadline, error);
    if (!started)
        forget_failed(pod);
    semaphore_release(&pod->job);
    if (started)
        *ret_pod = g_steal_pointer(&pod);
    return started;
}

gboolean sandbox_run(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                     const Deadline *deadline, char **ret_id, GError **error)
{
    g_auto(PodRequest) parsed = {0};

    if (!sandbox_request_parse(manager, request, &parsed, error))
        return FALSE;
    if (run_parsed(manager, &parsed, deadline, ret_id, error))
        return TRUE;
    g_prefix_error(error, "sandbox %s/%s: ", request->config->metadata->namespace_,
                   request->config->metadata->name);
    return FALSE;
}
