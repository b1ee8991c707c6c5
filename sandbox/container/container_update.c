/* SPDX-License-Identifier: Apache-2.0 */
/* UpdateContainerResources: changes the limits of a container, in the guest and in its stored configuration.
 */

#include <string.h>

#include "common/error.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_vm.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/sandbox.h"

typedef Runtime__V1__LinuxContainerResources Resources;

enum { UPDATE_TIMEOUT_MS = 60 * 1000 };

static gboolean container_update_in_guest(Container *container, const Resources *update,
                                          const Deadline *deadline, GError **error)
{
    Crivirt__Agent__V1__UpdateContainerRequest call = CRIVIRT__AGENT__V1__UPDATE_CONTAINER_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, UPDATE_TIMEOUT_MS);
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);
    g_autofree char *json = NULL;

    if (agent == NULL || !oci_spec_resources(update, !container->pod->platform->on_node, &json, error))
        return FALSE;
    call.id = container->guest_id;
    call.resources = (ProtobufCBinaryData){.len = strlen(json), .data = (guint8 *)json};
    return agent_update_container(agent, &call, &bounded, NULL, error);
}

/* Return: the container's resources after the update, which the caller frees. */
static Resources *resources_merged(Container *container, const Resources *update)
{
    const Runtime__V1__LinuxContainerConfig *config = container->config->linux;
    Resources *merged;

    g_mutex_lock(&container->pod->lock);
    merged = resources_merge(config != NULL ? config->resources : NULL, update);
    g_mutex_unlock(&container->pod->lock);
    return merged;
}

/* Takes ownership of merged, which protobuf-c's allocator frees with the configuration. */
static void resources_replace(Container *container, Resources *merged)
{
    Runtime__V1__ContainerConfig *config = container->config;

    g_mutex_lock(&container->pod->lock);
    if (config->linux == NULL)
        config->linux = runtime__v1__linux_container_config__unpack(NULL, 0, NULL);
    if (config->linux->resources != NULL)
        runtime__v1__linux_container_resources__free_unpacked(config->linux->resources, NULL);
    config->linux->resources = merged;
    g_mutex_unlock(&container->pod->lock);
}

/* A container cannot have more than its pod, so the pod's limit has to be raised first. */
static gboolean within_pod_check(Pod *pod, const PodChange *change, GError **error)
{
    const Limits wanted = limits_of(change->resources);
    Limits limits = {0};

    pod_vm_limits(pod, change, &limits);
    if (limits.memory_bytes != 0 && wanted.memory_bytes > limits.memory_bytes)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.memory_limit_in_bytes: %" G_GINT64_FORMAT
                    " is more than the whole pod may use, %" G_GINT64_FORMAT
                    "; the pod's limit must be raised first",
                    wanted.memory_bytes, limits.memory_bytes);
    if (limits.cpu_quota_us != 0 && wanted.cpu_quota_us > limits.cpu_quota_us)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.cpu_quota: %" G_GINT64_FORMAT
                    " us in %d us are more than the whole pod may use, %" G_GINT64_FORMAT
                    "; the pod's limit must be raised first",
                    wanted.cpu_quota_us, RESOURCES_CPU_PERIOD_US, limits.cpu_quota_us);
    return TRUE;
}

/* The VM grows before the container's limits are raised. After they have been lowered, it shrinks where it
 * can. */
static gboolean container_update_in_job(Container *container, const Resources *update,
                                        const Deadline *deadline, GError **error)
{
    ContainerState state = container_state(container);
    Resources *merged;
    PodChange change;
    g_autoptr(GError) shrink_error = NULL;

    if (state != CONTAINER_RUNNING_STATE && state != CONTAINER_CREATED_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is neither created nor running",
                    container->id);
    merged = resources_merged(container, update);
    change = (PodChange){.container = container, .resources = merged};
    if (!within_pod_check(container->pod, &change, error) ||
        !container->pod->platform->fit(container->pod, &change, "linux", FALSE, deadline, error) ||
        !container_update_in_guest(container, update, deadline, error)) {
        runtime__v1__linux_container_resources__free_unpacked(merged, NULL);
        pod_explain(container->pod, error);
        g_prefix_error(error, "cannot update container %s: ", container->id);
        return FALSE;
    }
    resources_replace(container, merged);
    if (!container->pod->platform->fit(container->pod, NULL, "linux", TRUE, deadline, &shrink_error))
        log_warning(LOG_FIELDS("container", container->id),
                    "cannot shrink the pod's VM, which keeps its size: %s", shrink_error->message);
    return container_save(container, error);
}

gboolean container_update(SandboxManager *manager,
                          const Runtime__V1__UpdateContainerResourcesRequest *request,
                          const Deadline *deadline, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, request->container_id, error);
    g_autoptr(PodTurn) turn = NULL;
    gboolean updated;

    if (container == NULL)
        return FALSE;
    if (request->linux == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "linux: the request has no resources to change");
    if (!vm_limits_check(request->linux, "linux", error))
        return FALSE;
    turn = pod_turn_take(container->pod, POD_TURN_CHANGE, deadline, error);
    if (turn == NULL ||
        !semaphore_acquire(&container->job, deadline, "waiting for other work on the container", error))
        return FALSE;
    updated = container_update_in_job(container, request->linux, deadline, error);
    semaphore_release(&container->job);
    if (updated)
        log_info(LOG_FIELDS("container", container->id), "resources of container %s updated",
                 container->config->metadata->name);
    return updated;
}
