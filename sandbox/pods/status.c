/* SPDX-License-Identifier: Apache-2.0 */
/* Pods and containers as the CRI shows them. Responses are built in the caller's arena from recorded state;
 * no function waits for a guest. */

#include "sandbox/pods/status.h"

#include <string.h>

#include "common/error.h"
#include "common/ids.h"
#include "common/json_writer.h"
#include "common/lock_assert.h"
#include "sandbox/oci/signals.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "sandbox/templates/template_store.h"
#include "sandbox/templates/vm_pool.h"

typedef Runtime__V1__ContainerState CriContainerState;

static CriContainerState cri_container_state(ContainerState state)
{
    switch (state) {
    case CONTAINER_CREATED_STATE:
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED;
    case CONTAINER_RUNNING_STATE:
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
    case CONTAINER_EXITED_STATE:
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
    default:
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_UNKNOWN;
    }
}

static Runtime__V1__PodSandboxState cri_pod_state(PodState state)
{
    return state == POD_READY ? RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY
                              : RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
}

typedef Runtime__V1__PodSandboxStatus__LabelsEntry PodStatusLabel;
#define PodStatusLabel_DESCRIPTOR runtime__v1__pod_sandbox_status__labels_entry__descriptor
typedef Runtime__V1__PodSandboxStatus__AnnotationsEntry PodStatusAnnotation;
#define PodStatusAnnotation_DESCRIPTOR runtime__v1__pod_sandbox_status__annotations_entry__descriptor
typedef Runtime__V1__ContainerStatus__LabelsEntry ContainerStatusLabel;
#define ContainerStatusLabel_DESCRIPTOR runtime__v1__container_status__labels_entry__descriptor
typedef Runtime__V1__ContainerStatus__AnnotationsEntry ContainerStatusAnnotation;
#define ContainerStatusAnnotation_DESCRIPTOR runtime__v1__container_status__annotations_entry__descriptor

/* ---- containers ---- */

/* Return: borrows its parts from the container. */
static Runtime__V1__ImageSpec *image_spec(const Container *container, Arena *arena)
{
    Runtime__V1__ImageSpec *spec = arena_new0(arena, Runtime__V1__ImageSpec, 1);

    *spec = *container->config->image;
    /* Return: the name that the user wrote, where the kubelet has replaced it by an id. */
    if (*spec->user_specified_image != '\0')
        spec->image = spec->user_specified_image;
    return spec;
}

/* Called with pod->lock held. */
static Runtime__V1__ContainerUser *container_user_locked(Container *container, Arena *arena)
{
    Runtime__V1__ContainerUser *user = arena_new0(arena, Runtime__V1__ContainerUser, 1);
    Runtime__V1__LinuxContainerUser *linux_user = arena_new0(arena, Runtime__V1__LinuxContainerUser, 1);

    LOCK_ASSERT_HELD(&container->pod->lock);
    if (container->uid < 0)
        return NULL;
    runtime__v1__container_user__init(user);
    runtime__v1__linux_container_user__init(linux_user);
    linux_user->uid = container->uid;
    linux_user->gid = container->gid;
    linux_user->n_supplemental_groups = container->groups->len;
    linux_user->supplemental_groups = arena_new0(arena, int64_t, container->groups->len);
    if (container->groups->len > 0)
        memcpy(linux_user->supplemental_groups, container->groups->data,
               container->groups->len * sizeof(gint64));
    user->linux = linux_user;
    return user;
}

/* Called with pod->lock held. */
static Runtime__V1__ContainerResources *container_resources_locked(Container *container, Arena *arena)
{
    Runtime__V1__ContainerResources *resources;

    LOCK_ASSERT_HELD(&container->pod->lock);
    if (container->config->linux == NULL || container->config->linux->resources == NULL)
        return NULL;
    resources = arena_new0(arena, Runtime__V1__ContainerResources, 1);
    runtime__v1__container_resources__init(resources);
    resources->linux = COPY(arena, container->config->linux->resources);
    return resources;
}

/* Return: why a running container does not run, which the CRI has no state for; else its own reason. */
static const char *running_reason_locked(const Container *container)
{
    if (container->state != CONTAINER_RUNNING_STATE || container->pod->state != POD_READY)
        return container->reason;
    if (container->pod->hibernated)
        return "Hibernated";
    return container->paused ? "Paused" : container->reason;
}

static Runtime__V1__ContainerStatus *container_status_message(Container *container, Arena *arena)
{
    Runtime__V1__ContainerStatus *status = arena_new0(arena, Runtime__V1__ContainerStatus, 1);
    const Runtime__V1__ContainerConfig *config = container->config;

    runtime__v1__container_status__init(status);
    status->id = arena_strdup(arena, container->id);
    status->metadata = COPY(arena, config->metadata);
    status->created_at = container->created_at_ns;
    status->image = cri_copy(arena, &image_spec(container, arena)->base);
    status->image_ref = arena_strdup(arena, container->image_id);
    status->image_id = arena_strdup(arena, container->image_id);
    COPY_MAP(arena, status, config, labels, ContainerStatusLabel);
    COPY_MAP(arena, status, config, annotations, ContainerStatusAnnotation);
    status->n_mounts = config->n_mounts;
    status->mounts = arena_new0(arena, Runtime__V1__Mount *, config->n_mounts);
    for (size_t i = 0; i < config->n_mounts; i++)
        status->mounts[i] = COPY(arena, config->mounts[i]);
    status->log_path = arena_strdup(arena, container->log_path);
    status->stop_signal = signal_to_cri(container->stop_signal);
    g_mutex_lock(&container->pod->lock);
    status->state = cri_container_state(container->state);
    status->started_at = container->started_at_ns;
    status->finished_at = container->finished_at_ns;
    status->exit_code = container->exit_code;
    status->reason = arena_strdup_utf8(arena, running_reason_locked(container));
    status->message = arena_strdup_utf8(arena, container->message);
    status->user = container_user_locked(container, arena);
    status->resources = container_resources_locked(container, arena);
    g_mutex_unlock(&container->pod->lock);
    return status;
}

gboolean container_status(SandboxManager *manager, const Runtime__V1__ContainerStatusRequest *request,
                          Arena *arena, Runtime__V1__ContainerStatusResponse *ret_response, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, request->container_id, error);

    if (container == NULL)
        return FALSE;
    ret_response->status = container_status_message(container, arena);
    return TRUE;
}

/* For lists: constant parts are borrowed from the container, which the arena keeps alive. */
static Runtime__V1__Container *container_message(Container *container, ContainerState state, Arena *arena)
{
    Runtime__V1__Container *message = arena_new0(arena, Runtime__V1__Container, 1);
    const Runtime__V1__ContainerConfig *config = container->config;

    runtime__v1__container__init(message);
    message->id = container->id;
    message->pod_sandbox_id = container->pod->id;
    message->metadata = config->metadata;
    message->image = image_spec(container, arena);
    message->image_ref = container->image_id;
    message->image_id = container->image_id;
    message->state = cri_container_state(state);
    message->created_at = container->created_at_ns;
    BORROW_MAP(message, config, labels);
    BORROW_MAP(message, config, annotations);
    return message;
}

/* Applies the filter except for the ids, by which the containers were looked up. */
static gboolean container_matches(const Container *container, ContainerState state,
                                  const Runtime__V1__ContainerFilter *filter)
{
    if (state == CONTAINER_CREATING)
        return FALSE; /* CreateContainer has not returned yet */
    if (filter == NULL)
        return TRUE;
    return (filter->state == NULL || filter->state->state == cri_container_state(state)) &&
           LABELS_MATCH(filter, container->config);
}

static gint newest_container_first(gconstpointer a, gconstpointer b)
{
    gint64 time_a = (*(Container *const *)a)->created_at_ns;
    gint64 time_b = (*(Container *const *)b)->created_at_ns;

    return (time_a < time_b) - (time_a > time_b);
}

gboolean container_list(SandboxManager *manager, const Runtime__V1__ListContainersRequest *request,
                        Arena *arena, Runtime__V1__ListContainersResponse *ret_response, GError **error)
{
    const Runtime__V1__ContainerFilter *filter = request->filter;
    GPtrArray *containers = manager_containers_by_id(manager, filter != NULL ? filter->id : "",
                                                     filter != NULL ? filter->pod_sandbox_id : "");

    (void)error;
    arena_hold(arena, containers, (GDestroyNotify)g_ptr_array_unref);
    g_ptr_array_sort(containers, newest_container_first);
    ret_response->containers = arena_new0(arena, Runtime__V1__Container *, containers->len);
    for (guint i = 0; i < containers->len; i++) {
        ContainerState state = container_state(containers->pdata[i]);

        if (container_matches(containers->pdata[i], state, filter))
            ret_response->containers[ret_response->n_containers++] =
                container_message(containers->pdata[i], state, arena);
    }
    return TRUE;
}

/* ---- pods ---- */

/* Called with pod->lock held. */
static Runtime__V1__PodSandboxNetworkStatus *network_status(const Pod *pod, Arena *arena)
{
    Runtime__V1__PodSandboxNetworkStatus *network =
        arena_new0(arena, Runtime__V1__PodSandboxNetworkStatus, 1);
    guint count = g_strv_length(pod->ips);

    runtime__v1__pod_sandbox_network_status__init(network);
    if (count == 0)
        return network;
    network->ip = arena_strdup(arena, pod->ips[0]);
    network->additional_ips = arena_new0(arena, Runtime__V1__PodIP *, count - 1);
    for (guint i = 1; i < count; i++) {
        Runtime__V1__PodIP *ip = arena_new0(arena, Runtime__V1__PodIP, 1);

        runtime__v1__pod_ip__init(ip);
        ip->ip = arena_strdup(arena, pod->ips[i]);
        network->additional_ips[network->n_additional_ips++] = ip;
    }
    return network;
}

static Runtime__V1__LinuxPodSandboxStatus *linux_status(const Pod *pod, Arena *arena)
{
    Runtime__V1__LinuxPodSandboxStatus *status = arena_new0(arena, Runtime__V1__LinuxPodSandboxStatus, 1);
    Runtime__V1__Namespace *namespaces = arena_new0(arena, Runtime__V1__Namespace, 1);
    const Runtime__V1__LinuxSandboxSecurityContext *security =
        pod->config->linux != NULL ? pod->config->linux->security_context : NULL;

    runtime__v1__linux_pod_sandbox_status__init(status);
    runtime__v1__namespace__init(namespaces);
    namespaces->options = security != NULL ? COPY(arena, security->namespace_options) : NULL;
    if (namespaces->options == NULL) {
        namespaces->options = arena_new0(arena, Runtime__V1__NamespaceOption, 1);
        runtime__v1__namespace_option__init(namespaces->options);
    }
    status->namespaces = namespaces;
    return status;
}

Runtime__V1__PodSandboxStatus *pod_status_message(Pod *pod, Arena *arena)
{
    Runtime__V1__PodSandboxStatus *status = arena_new0(arena, Runtime__V1__PodSandboxStatus, 1);

    runtime__v1__pod_sandbox_status__init(status);
    status->id = arena_strdup(arena, pod->id);
    status->metadata = COPY(arena, pod->config->metadata);
    status->created_at = pod->created_at_ns;
    status->linux = linux_status(pod, arena);
    COPY_MAP(arena, status, pod->config, labels, PodStatusLabel);
    COPY_MAP(arena, status, pod->config, annotations, PodStatusAnnotation);
    status->runtime_handler = arena_strdup(arena, pod->handler);
    g_mutex_lock(&pod->lock);
    status->state = cri_pod_state(pod->state);
    status->network = network_status(pod, arena);
    g_mutex_unlock(&pod->lock);
    return status;
}

/* Return: JSON text, as the CRI requires for additional values. NULL: "". */
static char *json_string(Arena *arena, const char *text)
{
    g_autoptr(JsonWriter) json = json_writer_new();

    json_writer_string(json, NULL, text);
    return arena_strdup(arena, json_writer_text(json, NULL));
}

static char *trace_info(const Pod *pod, Arena *arena)
{
    g_autofree char *name = g_strdup_printf("%s/%s", pod->config->metadata->namespace_, pod_name(pod));
    g_autofree char *json = trace_json(pod->trace, name, pod->start);

    return arena_strdup(arena, json);
}

static char *vm_size_json(Pod *pod, Arena *arena)
{
    const VmSize size = pod_vm_size(pod);

    return arena_printf(arena,
                        "{\"vcpus\":%u,\"maxVcpus\":%u,\"memoryBytes\":%" G_GUINT64_FORMAT
                        ",\"maxMemoryBytes\":%" G_GUINT64_FORMAT "}",
                        size.vcpus, size.max_vcpus, size.memory_bytes, size.max_memory_bytes);
}

static char *problem_json(Pod *pod, Arena *arena)
{
    char *problem;

    g_mutex_lock(&pod->lock);
    problem = arena_strdup_utf8(arena, pod->problem != NULL ? pod->problem : "");
    g_mutex_unlock(&pod->lock);
    return json_string(arena, problem);
}

static char *rest_json(Pod *pod, Arena *arena)
{
    g_autoptr(JsonWriter) json = json_writer_new();

    json_writer_open_object(json, NULL);
    g_mutex_lock(&pod->lock);
    json_writer_bool(json, "hibernated", pod->hibernated);
    json_writer_string(json, "wakeProblem",
                       pod->hibernated && pod->wake_problem != NULL ? pod->wake_problem->message : "");
    g_mutex_unlock(&pod->lock);
    json_writer_close_object(json);
    return arena_strdup_utf8(arena, json_writer_text(json, NULL));
}

static void status_info(Pod *pod, Arena *arena, Runtime__V1__PodSandboxStatusResponse *response)
{
    const struct {
        const char *name;
        char *json;
    } values[] = {
        {"problem", problem_json(pod, arena)},
        {"netns", json_string(arena, pod->netns_path)},
        {"guestDirectory", json_string(arena, pod->run_dir)},
        {"vm", vm_size_json(pod, arena)},
        {"trace", trace_info(pod, arena)},
        {"start", json_string(arena, pod->start)},
        {"volumeCache", json_string(arena, pod->volume_cache)},
        {"hibernation", rest_json(pod, arena)},
    };

    response->info =
        arena_new0(arena, Runtime__V1__PodSandboxStatusResponse__InfoEntry *, G_N_ELEMENTS(values));
    for (guint i = 0; i < G_N_ELEMENTS(values); i++) {
        Runtime__V1__PodSandboxStatusResponse__InfoEntry *entry =
            arena_new0(arena, Runtime__V1__PodSandboxStatusResponse__InfoEntry, 1);

        runtime__v1__pod_sandbox_status_response__info_entry__init(entry);
        entry->key = (char *)values[i].name;
        entry->value = values[i].json;
        response->info[response->n_info++] = entry;
    }
}

Runtime__V1__ContainerStatus **pod_container_statuses(Pod *pod, Arena *arena, size_t *ret_n)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);
    Runtime__V1__ContainerStatus **statuses =
        arena_new0(arena, Runtime__V1__ContainerStatus *, containers->len);

    *ret_n = 0;
    for (guint i = 0; i < containers->len; i++)
        if (container_state(containers->pdata[i]) != CONTAINER_CREATING)
            statuses[(*ret_n)++] = container_status_message(containers->pdata[i], arena);
    return statuses;
}

gboolean sandbox_status(SandboxManager *manager, const Runtime__V1__PodSandboxStatusRequest *request,
                        Arena *arena, Runtime__V1__PodSandboxStatusResponse *ret_response, GError **error)
{
    g_autoptr(Pod) pod = manager_find_pod(manager, request->pod_sandbox_id, error);

    if (pod == NULL)
        return FALSE;
    ret_response->status = pod_status_message(pod, arena);
    ret_response->timestamp = time_now_ns();
    if (request->verbose)
        status_info(pod, arena, ret_response);
    ret_response->containers_statuses =
        pod_container_statuses(pod, arena, &ret_response->n_containers_statuses);
    return TRUE;
}

/* For lists: constant parts are borrowed from the pod, which the arena keeps alive. */
static Runtime__V1__PodSandbox *pod_message(Pod *pod, PodState state, Arena *arena)
{
    Runtime__V1__PodSandbox *message = arena_new0(arena, Runtime__V1__PodSandbox, 1);

    runtime__v1__pod_sandbox__init(message);
    message->id = pod->id;
    message->metadata = pod->config->metadata;
    message->state = cri_pod_state(state);
    message->created_at = pod->created_at_ns;
    BORROW_MAP(message, pod->config, labels);
    BORROW_MAP(message, pod->config, annotations);
    message->runtime_handler = pod->handler;
    return message;
}

/* Applies the filter except for the id, by which the pods were looked up. */
static gboolean pod_matches(const Pod *pod, PodState state, const Runtime__V1__PodSandboxFilter *filter)
{
    if (state == POD_STARTING)
        return FALSE; /* RunPodSandbox has not returned yet */
    if (filter == NULL)
        return TRUE;
    return (filter->state == NULL || filter->state->state == cri_pod_state(state)) &&
           LABELS_MATCH(filter, pod->config);
}

static gint newest_pod_first(gconstpointer a, gconstpointer b)
{
    gint64 time_a = (*(Pod *const *)a)->created_at_ns;
    gint64 time_b = (*(Pod *const *)b)->created_at_ns;

    return (time_a < time_b) - (time_a > time_b);
}

gboolean sandbox_list(SandboxManager *manager, const Runtime__V1__ListPodSandboxRequest *request,
                      Arena *arena, Runtime__V1__ListPodSandboxResponse *ret_response, GError **error)
{
    const Runtime__V1__PodSandboxFilter *filter = request->filter;
    GPtrArray *pods = manager_pods_by_id(manager, filter != NULL ? filter->id : "");

    (void)error;
    arena_hold(arena, pods, (GDestroyNotify)g_ptr_array_unref);
    g_ptr_array_sort(pods, newest_pod_first);
    ret_response->items = arena_new0(arena, Runtime__V1__PodSandbox *, pods->len);
    for (guint i = 0; i < pods->len; i++) {
        PodState state = pod_state(pods->pdata[i]);

        if (pod_matches(pods->pdata[i], state, filter))
            ret_response->items[ret_response->n_items++] = pod_message(pods->pdata[i], state, arena);
    }
    return TRUE;
}

/* ---- templates ---- */

char *sandbox_manager_templates(SandboxManager *manager)
{
    TemplateCounts counts;
    g_autoptr(JsonWriter) json = NULL;

    if (manager->templates == NULL)
        return NULL;
    template_store_count(manager->templates, &counts);
    json = json_writer_new();
    json_writer_open_object(json, NULL);
    json_writer_int(json, "ready", counts.ready);
    json_writer_int(json, "bytes", (gint64)counts.data_bytes);
    json_writer_int(json, "wanted", counts.wanted);
    json_writer_int(json, "vmPool", vm_pool_count(manager->pool));
    json_writer_int(json, "vmPoolSize", vm_pool_size(manager->pool));
    json_writer_strings(json, "quarantined", (const char *const *)counts.quarantined,
                        g_strv_length(counts.quarantined));
    json_writer_strings(json, "nextTries", (const char *const *)counts.next_tries,
                        g_strv_length(counts.next_tries));
    json_writer_close_object(json);
    template_counts_clear(&counts);
    return json_writer_copy(json);
}

void sandbox_manager_template_figures(SandboxManager *manager, TemplateFigures *ret_figures)
{
    TemplateCounts counts = {0};

    if (manager->templates != NULL)
        template_store_count(manager->templates, &counts);
    *ret_figures = (TemplateFigures){
        .templates_ready = counts.ready,
        .templates_wanted = counts.wanted,
        .templates_quarantined = counts.quarantined != NULL ? g_strv_length(counts.quarantined) : 0,
        .template_data_bytes = counts.data_bytes,
        .pool_ready = vm_pool_count(manager->pool),
        .pool_size = vm_pool_size(manager->pool),
    };
    template_counts_clear(&counts);
}
