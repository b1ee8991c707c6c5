/* SPDX-License-Identifier: Apache-2.0 */
/* The CRI's RuntimeService. The handlers are thin, because the sandbox manager does the work. */
#include "common/error.h"
#include "common/json_writer.h"
#include "common/log.h"
#include "common/spans.h"
#include "cri-server/daemon.h"
#include "cri-server/request_id.h"
#include "cri-server/rpc_table.h"

#include <string.h>
#include <unistd.h>

/* Moves an id into the arena. */
static char *take_id(const RpcCall *call, char *id)
{
    char *copy = arena_strdup(call->arena, id);

    g_free(id);
    return copy;
}

gboolean rpc_Version(const RpcCall *call, const Runtime__V1__VersionRequest *request,
                     Runtime__V1__VersionResponse *response, GError **error)
{
    (void)request; /* the version of the client's kubelet API, which has no effect */
    (void)error;
    response->version = arena_strdup(call->arena, "0.1.0");
    response->runtime_name = arena_strdup(call->arena, "crivirt");
    response->runtime_version = arena_strdup(call->arena, CRIVIRT_VERSION);
    response->runtime_api_version = arena_strdup(call->arena, call->by_alias ? "v1alpha2" : "v1");
    return TRUE;
}

/* ---- Status ---- */

static Runtime__V1__RuntimeCondition *add_condition(const RpcCall *call, Runtime__V1__RuntimeStatus *status,
                                                    const char *type, gboolean is_met)
{
    Runtime__V1__RuntimeCondition *condition = arena_new0(call->arena, Runtime__V1__RuntimeCondition, 1);

    runtime__v1__runtime_condition__init(condition);
    condition->type = arena_strdup(call->arena, type);
    condition->status = is_met;
    status->conditions[status->n_conditions++] = condition;
    return condition;
}

static void describe_conditions(const RpcCall *call, Runtime__V1__StatusResponse *response)
{
    SandboxManager *sandboxes = call->daemon->sandboxes;
    Runtime__V1__RuntimeStatus *status = arena_new0(call->arena, Runtime__V1__RuntimeStatus, 1);
    g_autofree char *problem = sandbox_manager_network_problem(sandboxes);
    Runtime__V1__RuntimeCondition *condition;
    gboolean is_kvm = FALSE;
    const char *accelerator = sandbox_manager_accelerator(sandboxes, &is_kvm);

    runtime__v1__runtime_status__init(status);
    status->conditions = arena_new0(call->arena, Runtime__V1__RuntimeCondition *, 2);
    condition = add_condition(call, status, "RuntimeReady", TRUE);
    if (!is_kvm) {
        /* The node is ready nevertheless; the reason explains why pods are slow. */
        condition->reason = arena_strdup(call->arena, "SlowEmulation");
        condition->message =
            arena_printf(call->arena, "pods run without hardware virtualization: %s", accelerator);
    }
    condition = add_condition(call, status, "NetworkReady", problem == NULL);
    if (problem != NULL) {
        condition->reason = arena_strdup(call->arena, "NetworkPluginNotReady");
        condition->message = arena_strdup(call->arena, problem);
    }
    response->status = status;
}

static Runtime__V1__RuntimeHandler *describe_handler(const RpcCall *call, const char *name,
                                                     const Handler *row)
{
    Runtime__V1__RuntimeHandler *handler = arena_new0(call->arena, Runtime__V1__RuntimeHandler, 1);

    runtime__v1__runtime_handler__init(handler);
    handler->name = arena_strdup(call->arena, name);
    handler->features = arena_new0(call->arena, Runtime__V1__RuntimeHandlerFeatures, 1);
    runtime__v1__runtime_handler_features__init(handler->features);
    /* Features of crun and of the kernel, the guest's or the node's; a host pod has no user namespace of its
     * own. */
    handler->features->recursive_read_only_mounts = TRUE;
    handler->features->user_namespaces = !handler_is_host(row);
    return handler;
}

static void describe_handlers(const RpcCall *call, const GPtrArray *handlers,
                              Runtime__V1__StatusResponse *response)
{
    /* One more for "", the default handler, which clients look up by that name. */
    response->runtime_handlers = arena_new0(call->arena, Runtime__V1__RuntimeHandler *, handlers->len + 1);
    response->runtime_handlers[response->n_runtime_handlers++] =
        describe_handler(call, "", handlers->pdata[0]);
    for (guint i = 0; i < handlers->len; i++) {
        const Handler *handler = handlers->pdata[i];

        response->runtime_handlers[response->n_runtime_handlers++] =
            describe_handler(call, handler->name, handler);
    }
    response->features = arena_new0(call->arena, Runtime__V1__RuntimeFeatures, 1);
    runtime__v1__runtime_features__init(response->features);
    response->features->supplemental_groups_policy = TRUE;
    response->features->mount_options = TRUE;
}

/* Verbose values are JSON texts, which crictl embeds in its output. */
static void add_info(const RpcCall *call, Runtime__V1__StatusResponse *response, const char *key, char *json)
{
    Runtime__V1__StatusResponse__InfoEntry *entry =
        arena_new0(call->arena, Runtime__V1__StatusResponse__InfoEntry, 1);

    runtime__v1__status_response__info_entry__init(entry);
    entry->key = arena_strdup(call->arena, key);
    entry->value = json;
    response->info[response->n_info++] = entry;
}

static char *describe_accelerator(const RpcCall *call)
{
    g_autoptr(JsonWriter) json = json_writer_new();
    gboolean is_kvm = FALSE;
    const char *description = sandbox_manager_accelerator(call->daemon->sandboxes, &is_kvm);

    json_writer_open_object(json, NULL);
    json_writer_bool(json, "hardware", is_kvm);
    json_writer_string(json, "description", description);
    json_writer_close_object(json);
    return arena_strdup(call->arena, json_writer_text(json, NULL));
}

static char *describe_qemu(const RpcCall *call)
{
    g_autoptr(JsonWriter) json = json_writer_new();
    const QemuProgram *qemu = sandbox_manager_qemu(call->daemon->sandboxes);

    json_writer_open_object(json, NULL);
    json_writer_string(json, "path", qemu->path);
    json_writer_string(json, "version", qemu->version);
    json_writer_bool(json, "own", qemu->own);
    json_writer_close_object(json);
    return arena_strdup(call->arena, json_writer_text(json, NULL));
}

gboolean rpc_Status(const RpcCall *call, const Runtime__V1__StatusRequest *request,
                    Runtime__V1__StatusResponse *response, GError **error)
{
    g_autoptr(Settings) settings = live_settings_get(call->daemon->live);
    g_autofree char *config = NULL;
    g_autofree char *templates = NULL;

    (void)error;
    describe_conditions(call, response);
    describe_handlers(call, settings->handlers, response);
    if (!request->verbose)
        return TRUE;
    config = config_to_json(settings);
    response->info = arena_new0(call->arena, Runtime__V1__StatusResponse__InfoEntry *, 4);
    add_info(call, response, "config", arena_strdup(call->arena, config));
    add_info(call, response, "accelerator", describe_accelerator(call));
    add_info(call, response, "qemu", describe_qemu(call));
    templates = sandbox_manager_templates(call->daemon->sandboxes);
    if (templates != NULL)
        add_info(call, response, "templates", arena_strdup(call->arena, templates));
    return TRUE;
}

/* ---- configuration ---- */

gboolean rpc_RuntimeConfig(const RpcCall *call, const Runtime__V1__RuntimeConfigRequest *request,
                           Runtime__V1__RuntimeConfigResponse *response, GError **error)
{
    const char *driver = call->daemon->settings->kubelet.cgroup_driver;
    gboolean is_systemd = g_str_equal(driver, "systemd") ||
                          (g_str_equal(driver, "auto") && access("/run/systemd/system", F_OK) == 0);

    (void)request;
    (void)error;
    response->linux = arena_new0(call->arena, Runtime__V1__LinuxRuntimeConfiguration, 1);
    runtime__v1__linux_runtime_configuration__init(response->linux);
    response->linux->cgroup_driver =
        is_systemd ? RUNTIME__V1__CGROUP_DRIVER__SYSTEMD : RUNTIME__V1__CGROUP_DRIVER__CGROUPFS;
    return TRUE;
}

/* The kubelet reports the node's pod CIDR. Other runtimes use it to fill in a template of a CNI
 * configuration; crivirt has no template, because the cluster's network add-on writes the configuration.
 * Refusing the call would make the kubelet log an error each time. */
gboolean rpc_UpdateRuntimeConfig(const RpcCall *call, const Runtime__V1__UpdateRuntimeConfigRequest *request,
                                 Runtime__V1__UpdateRuntimeConfigResponse *response, GError **error)
{
    const Runtime__V1__RuntimeConfig *config = request->runtime_config;

    (void)call;
    (void)response;
    (void)error;
    if (config != NULL && config->network_config != NULL)
        log_info(LOG_FIELDS("pod_cidr", config->network_config->pod_cidr),
                 "the kubelet reported the pod CIDR; crivirtd uses the CNI configuration instead");
    return TRUE;
}

/* ---- pods ---- */

/* Attributes of the call's span, by the names of OpenTelemetry's conventions where they have one. */
static void note_pod(const Runtime__V1__PodSandboxConfig *config)
{
    const Runtime__V1__PodSandboxMetadata *metadata = config != NULL ? config->metadata : NULL;

    if (metadata == NULL)
        return;
    span_note("k8s.pod.name", metadata->name);
    span_note("k8s.namespace.name", metadata->namespace_);
    span_note("k8s.pod.uid", metadata->uid);
}

static void note_container(const Runtime__V1__ContainerConfig *config)
{
    if (config != NULL && config->metadata != NULL)
        span_note("k8s.container.name", config->metadata->name);
    if (config != NULL && config->image != NULL)
        span_note("container.image.name", config->image->image);
}

gboolean rpc_RunPodSandbox(const RpcCall *call, const Runtime__V1__RunPodSandboxRequest *request,
                           Runtime__V1__RunPodSandboxResponse *response, GError **error)
{
    char *id = NULL;

    note_pod(request->config);
    if (!sandbox_run(call->daemon->sandboxes, request, call->deadline, &id, error))
        return FALSE;
    response->pod_sandbox_id = take_id(call, id);
    span_note("crivirt.sandbox.id", response->pod_sandbox_id);
    return TRUE;
}

gboolean rpc_StopPodSandbox(const RpcCall *call, const Runtime__V1__StopPodSandboxRequest *request,
                            Runtime__V1__StopPodSandboxResponse *response, GError **error)
{
    (void)response;
    span_note("crivirt.sandbox.id", request->pod_sandbox_id);
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_stop(call->daemon->sandboxes, request->pod_sandbox_id, call->deadline, error);
}

gboolean rpc_RemovePodSandbox(const RpcCall *call, const Runtime__V1__RemovePodSandboxRequest *request,
                              Runtime__V1__RemovePodSandboxResponse *response, GError **error)
{
    (void)response;
    span_note("crivirt.sandbox.id", request->pod_sandbox_id);
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_remove(call->daemon->sandboxes, request->pod_sandbox_id, call->deadline, error);
}

gboolean rpc_PodSandboxStatus(const RpcCall *call, const Runtime__V1__PodSandboxStatusRequest *request,
                              Runtime__V1__PodSandboxStatusResponse *response, GError **error)
{
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_status(call->daemon->sandboxes, request, call->arena, response, error);
}

gboolean rpc_ListPodSandbox(const RpcCall *call, const Runtime__V1__ListPodSandboxRequest *request,
                            Runtime__V1__ListPodSandboxResponse *response, GError **error)
{
    return sandbox_list(call->daemon->sandboxes, request, call->arena, response, error);
}

gboolean rpc_CheckpointPod(const RpcCall *call, const Runtime__V1__CheckpointPodRequest *request,
                           Runtime__V1__CheckpointPodResponse *response, GError **error)
{
    (void)response;
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_checkpoint(call->daemon->sandboxes, request, call->deadline, error);
}

gboolean rpc_CheckpointContainer(const RpcCall *call, const Runtime__V1__CheckpointContainerRequest *request,
                                 Runtime__V1__CheckpointContainerResponse *response, GError **error)
{
    (void)response;
    return request_id_check(request->container_id, "container_id", error) &&
           sandbox_checkpoint_container(call->daemon->sandboxes, request, call->deadline, error);
}

gboolean rpc_RestorePod(const RpcCall *call, const Runtime__V1__RestorePodRequest *request,
                        Runtime__V1__RestorePodResponse *response, GError **error)
{
    return sandbox_restore(call->daemon->sandboxes, request, call->deadline, call->arena, response, error);
}

/* ---- containers ---- */

gboolean rpc_UpdatePodSandboxResources(const RpcCall *call,
                                       const Runtime__V1__UpdatePodSandboxResourcesRequest *request,
                                       Runtime__V1__UpdatePodSandboxResourcesResponse *response,
                                       GError **error)
{
    (void)response;
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_update(call->daemon->sandboxes, request, call->deadline, error);
}

gboolean rpc_CreateContainer(const RpcCall *call, const Runtime__V1__CreateContainerRequest *request,
                             Runtime__V1__CreateContainerResponse *response, GError **error)
{
    char *id = NULL;

    span_note("crivirt.sandbox.id", request->pod_sandbox_id);
    note_container(request->config);
    if (!request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) ||
        !container_create(call->daemon->sandboxes, request, call->deadline, &id, error))
        return FALSE;
    response->container_id = take_id(call, id);
    span_note("container.id", response->container_id);
    return TRUE;
}

gboolean rpc_StartContainer(const RpcCall *call, const Runtime__V1__StartContainerRequest *request,
                            Runtime__V1__StartContainerResponse *response, GError **error)
{
    (void)response;
    span_note("container.id", request->container_id);
    return request_id_check(request->container_id, "container_id", error) &&
           container_start(call->daemon->sandboxes, request->container_id, call->deadline, error);
}

gboolean rpc_StopContainer(const RpcCall *call, const Runtime__V1__StopContainerRequest *request,
                           Runtime__V1__StopContainerResponse *response, GError **error)
{
    (void)response;
    span_note("container.id", request->container_id);
    return request_id_check(request->container_id, "container_id", error) &&
           container_stop(call->daemon->sandboxes, request->container_id, MAX(request->timeout, 0),
                          call->deadline, error);
}

gboolean rpc_RemoveContainer(const RpcCall *call, const Runtime__V1__RemoveContainerRequest *request,
                             Runtime__V1__RemoveContainerResponse *response, GError **error)
{
    (void)response;
    span_note("container.id", request->container_id);
    return request_id_check(request->container_id, "container_id", error) &&
           container_remove(call->daemon->sandboxes, request->container_id, call->deadline, error);
}

gboolean rpc_ContainerStatus(const RpcCall *call, const Runtime__V1__ContainerStatusRequest *request,
                             Runtime__V1__ContainerStatusResponse *response, GError **error)
{
    return request_id_check(request->container_id, "container_id", error) &&
           container_status(call->daemon->sandboxes, request, call->arena, response, error);
}

gboolean rpc_ListContainers(const RpcCall *call, const Runtime__V1__ListContainersRequest *request,
                            Runtime__V1__ListContainersResponse *response, GError **error)
{
    return container_list(call->daemon->sandboxes, request, call->arena, response, error);
}

gboolean rpc_UpdateContainerResources(const RpcCall *call,
                                      const Runtime__V1__UpdateContainerResourcesRequest *request,
                                      Runtime__V1__UpdateContainerResourcesResponse *response, GError **error)
{
    (void)response;
    return request_id_check(request->container_id, "container_id", error) &&
           container_update(call->daemon->sandboxes, request, call->deadline, error);
}

gboolean rpc_ReopenContainerLog(const RpcCall *call, const Runtime__V1__ReopenContainerLogRequest *request,
                                Runtime__V1__ReopenContainerLogResponse *response, GError **error)
{
    (void)response;
    return request_id_check(request->container_id, "container_id", error) &&
           container_reopen_log(call->daemon->sandboxes, request->container_id, call->deadline, error);
}

gboolean rpc_ExecSync(const RpcCall *call, const Runtime__V1__ExecSyncRequest *request,
                      Runtime__V1__ExecSyncResponse *response, GError **error)
{
    span_note("container.id", request->container_id);
    if (!request_id_check(request->container_id, "container_id", error))
        return FALSE;
    if (request->n_cmd == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "cmd is empty");
    return container_exec_sync(call->daemon->sandboxes, request, call->deadline, call->arena, response,
                               error);
}
