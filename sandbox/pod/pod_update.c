/* SPDX-License-Identifier: Apache-2.0 */
/* UpdatePodSandboxResources: changes the limits of a pod as a whole. The kubelet calls it after it has
 * changed the pod's cgroup on the node, and before it raises the limits of containers. */

#include "common/error.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_oom.h"
#include "sandbox/pod/pod_vm.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/sandbox.h"

typedef Runtime__V1__LinuxContainerResources Resources;

/* Return: NULL when there are none. */
static void resources_put(Resources **present, Resources *replacement)
{
    if (replacement == NULL)
        return;
    if (*present != NULL)
        runtime__v1__linux_container_resources__free_unpacked(*present, NULL);
    *present = replacement;
}

static void resources_drop(Resources *resources)
{
    if (resources != NULL)
        runtime__v1__linux_container_resources__free_unpacked(resources, NULL);
}

/* Return: the pod's resources after the update; NULL where the request has none. */
static Resources *merged(Pod *pod, const Resources *present, const Resources *update)
{
    Resources *result;

    if (update == NULL)
        return NULL;
    g_mutex_lock(&pod->lock);
    result = resources_merge(present, update);
    g_mutex_unlock(&pod->lock);
    return result;
}

/* A limit below zero is none. The kubelet reads -1 from a cgroup without a limit, and subtracts the pod's
 * overhead from it as from any other limit. */
static void resources_lift_negative(Resources *resources)
{
    resources->memory_limit_in_bytes = MAX(resources->memory_limit_in_bytes, -1);
    resources->cpu_quota = MAX(resources->cpu_quota, -1);
}

static gboolean update_in_job(Pod *pod, const Resources *new_resources, const Resources *new_overhead,
                              const Deadline *deadline, GError **error)
{
    Runtime__V1__LinuxPodSandboxConfig *config = pod->config->linux;
    Resources *resources = merged(pod, config != NULL ? config->resources : NULL, new_resources);
    Resources *overhead = merged(pod, config != NULL ? config->overhead : NULL, new_overhead);
    const PodChange change = {.pod_resources = resources};
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);

    if (agent == NULL ||
        (resources != NULL && !pod->platform->fit(pod, &change, "resources", TRUE, deadline, error))) {
        resources_drop(resources);
        resources_drop(overhead);
        return FALSE;
    }
    g_mutex_lock(&pod->lock);
    if (pod->config->linux == NULL)
        pod->config->linux = runtime__v1__linux_pod_sandbox_config__unpack(NULL, 0, NULL);
    resources_put(&pod->config->linux->resources, resources);
    resources_put(&pod->config->linux->overhead, overhead);
    g_mutex_unlock(&pod->lock);
    pod_oom_follow(pod);
    return pod_save(pod, error);
}

gboolean sandbox_update(SandboxManager *manager, const Runtime__V1__UpdatePodSandboxResourcesRequest *request,
                        const Deadline *deadline, GError **error)
{
    g_autoptr(Pod) pod = manager_find_pod(manager, request->pod_sandbox_id, error);
    g_autoptr(PodTurn) turn = NULL;
    Resources lifted, *resources = NULL;
    VmSize size;
    gboolean updated;

    if (pod == NULL)
        return FALSE;
    if (request->resources == NULL && request->overhead == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "resources: the request has none to change");
    if (request->resources != NULL) {
        lifted = *request->resources;
        resources = &lifted;
        resources_lift_negative(resources);
        if (!vm_limits_check(resources, "resources", error))
            return FALSE;
    }
    turn = pod_turn_take(pod, POD_TURN_USE, deadline, error);
    if (turn == NULL ||
        !semaphore_acquire(&pod->job, deadline, "waiting for other work on the sandbox", error))
        return FALSE;
    updated = update_in_job(pod, resources, request->overhead, deadline, error);
    semaphore_release(&pod->job);
    if (!updated) {
        pod_explain(pod, error);
        g_prefix_error(error, "cannot update sandbox %s: ", pod->id);
        return FALSE;
    }
    size = pod_vm_size(pod);
    if (size.vcpus != 0)
        log_info(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)),
                 "sandbox has %u CPUs and %" G_GUINT64_FORMAT " MiB", size.vcpus, size.memory_bytes >> 20);
    return TRUE;
}
