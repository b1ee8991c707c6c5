/* SPDX-License-Identifier: Apache-2.0 */
/* What the VMs of all pods cost this node, without asking any guest. */
#include "sandbox/observe/sampler.h"
#include "sandbox/pods/pod.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"

static void pod_cost_clear(gpointer data)
{
    PodCost *cost = data;

    g_free(cost->id);
}

/* What the last sample shows that the node gives to the VM and the guest's containers do not use. */
static void read_overhead(Pod *pod, PodCost *cost)
{
    g_auto(SamplePair) pair = pod_sample(pod);
    guint64 used_bytes;

    if (pair.last == NULL || !pair.last->has_node_cost || pair.last->stats == NULL ||
        pair.last->stats->pod == NULL)
        return;
    used_bytes = pair.last->stats->pod->memory_current_bytes;
    cost->has_overhead = TRUE;
    cost->overhead_bytes = pair.last->node_memory_bytes - MIN(pair.last->node_memory_bytes, used_bytes);
}

GArray *sandbox_manager_costs(SandboxManager *manager)
{
    g_autoptr(GPtrArray) pods = manager_pods(manager);
    GArray *costs = g_array_new(FALSE, TRUE, sizeof(PodCost));

    g_array_set_clear_func(costs, pod_cost_clear);
    for (guint i = 0; i < pods->len; i++) {
        Pod *pod = pods->pdata[i];
        PodCost cost = {.vm_memory_bytes = pod_vm_size(pod).memory_bytes};

        if (pod->kind != HANDLER_VM ||
            !sampler_read_node_cost(pod, &cost.node_cpu_ns, &cost.node_memory_bytes))
            continue;
        cost.id = g_strdup(pod->id);
        read_overhead(pod, &cost);
        g_array_append_val(costs, cost);
    }
    return costs;
}
