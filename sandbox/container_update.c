/* UpdateContainerResources: new limits for a container, in the guest and in what is remembered of it. */

#include <string.h>

#include "common/error.h"
#include "common/log.h"
#include "sandbox/oci_spec.h"
#include "sandbox/pod.h"

typedef Runtime__V1__LinuxContainerResources Resources;

enum { UPDATE_TIMEOUT_MS = 60 * 1000 };

static void resources_append(GByteArray *wire, const Resources *resources)
{
    gsize length = runtime__v1__linux_container_resources__get_packed_size(resources);
    guint start = wire->len;

    g_byte_array_set_size(wire, (guint)(start + length));
    runtime__v1__linux_container_resources__pack(resources, wire->data + start);
}

/* What is set in update replaces what was; protobuf merges messages that follow each other that way, but for
 * lists, which it would join. */
static Resources *resources_merge(const Resources *present, const Resources *update)
{
    Resources kept = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    g_autoptr(GByteArray) wire = g_byte_array_new();

    if (present != NULL)
        kept = *present;
    if (update->n_hugepage_limits > 0)
        kept.n_hugepage_limits = 0;
    if (update->n_unified > 0)
        kept.n_unified = 0;
    resources_append(wire, &kept);
    resources_append(wire, update);
    return runtime__v1__linux_container_resources__unpack(NULL, wire->len, wire->data);
}

static gboolean update_in_guest(Container *container, const Resources *update, const Deadline *deadline,
                                GError **error)
{
    Crivirt__Agent__V1__UpdateContainerRequest call = CRIVIRT__AGENT__V1__UPDATE_CONTAINER_REQUEST__INIT;
    Crivirt__Agent__V1__Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, UPDATE_TIMEOUT_MS);
    g_autoptr(Link) link = pod_link(container->pod, error);
    g_autofree char *json = NULL;
    Crivirt__Agent__V1__Response *response;

    if (link == NULL || !oci_spec_resources(update, &json, error))
        return FALSE;
    call.id = container->id;
    call.resources = (ProtobufCBinaryData){.len = strlen(json), .data = (guint8 *)json};
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_UPDATE_CONTAINER;
    request.update_container = &call;
    if (!link_call(link, &request, &bounded, &response, error))
        return FALSE;
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return TRUE;
}

/* What is put in is freed with the configuration, by protobuf-c's own allocator. */
static void resources_replace(Container *container, const Resources *update)
{
    Runtime__V1__ContainerConfig *config = container->config;
    Resources *merged;

    g_mutex_lock(&container->pod->lock);
    if (config->linux == NULL)
        config->linux = runtime__v1__linux_container_config__unpack(NULL, 0, NULL);
    merged = resources_merge(config->linux->resources, update);
    if (config->linux->resources != NULL)
        runtime__v1__linux_container_resources__free_unpacked(config->linux->resources, NULL);
    config->linux->resources = merged;
    g_mutex_unlock(&container->pod->lock);
}

/* Under the container's job. */
static gboolean update_locked(Container *container, const Resources *update, const Deadline *deadline,
                              GError **error)
{
    ContainerState state = container_state(container);

    if (state != CONTAINER_RUNNING_STATE && state != CONTAINER_CREATED_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is neither created nor running",
                    container->id);
    if (!update_in_guest(container, update, deadline, error)) {
        g_prefix_error(error, "cannot update container %s: ", container->id);
        return FALSE;
    }
    resources_replace(container, update);
    return container_save(container, error);
}

gboolean container_update(SandboxManager *manager,
                          const Runtime__V1__UpdateContainerResourcesRequest *request,
                          const Deadline *deadline, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, request->container_id, error);
    gboolean updated;

    if (container == NULL)
        return FALSE;
    if (request->linux == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "linux: there are no resources to change");
    if (!slots_take(&container->job, deadline, "waiting for other work on the container", error))
        return FALSE;
    updated = update_locked(container, request->linux, deadline, error);
    slots_give(&container->job);
    if (updated)
        log_info(LOG_FIELDS("container", container->id), "resources of container %s updated",
                 container->config->metadata->name);
    return updated;
}
