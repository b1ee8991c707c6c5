/* SPDX-License-Identifier: Apache-2.0 */
/* Resource usage of containers and pods, in the CRI's messages.
 *
 * The values of a container are those of its cgroup in the guest. The CPU time and memory of a pod are its
 * cost on the node: the CPU time of QEMU, which includes the guest's, and the resident memory of QEMU, which
 * includes the guest's; and those of virtiofsd where the pod has volumes. All of this memory counts as the
 * working set, because the node cannot reclaim any of it. A pod therefore uses more than its containers
 * together: the guest's kernel, agent and page cache, and QEMU itself, come in addition. Network, processes,
 * page faults and pressure are those of the guest.
 *
 * Rates (usage_nano_cores) are left out until there are two samples. Containers that do not run and pods
 * that are not ready are listed without values. ListPodSandboxStats does not list pods that are not ready.
 */

#include "sandbox/observe/stats.h"

#include "common/error.h"
#include "sandbox/observe/sampler.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/pod.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"

typedef Crivirt__Agent__V1__CgroupUsage CgroupUsage;

enum { NS_PER_US = 1000, NS_PER_MS = 1000 * 1000 };

static Runtime__V1__UInt64Value *uint64_value(Arena *arena, guint64 value)
{
    Runtime__V1__UInt64Value *message = arena_new0(arena, Runtime__V1__UInt64Value, 1);

    runtime__v1__uint64_value__init(message);
    message->value = value;
    return message;
}

guint64 stats_working_set(guint64 usage_bytes, guint64 inactive_file_bytes)
{
    return usage_bytes > inactive_file_bytes ? usage_bytes - inactive_file_bytes : 0;
}

/* ---- pressure ---- */

static Runtime__V1__PsiData *psi_data(Arena *arena, const Crivirt__Agent__V1__PressureLine *line)
{
    Runtime__V1__PsiData *data;

    if (line == NULL)
        return NULL;
    data = arena_new0(arena, Runtime__V1__PsiData, 1);
    runtime__v1__psi_data__init(data);
    data->total = line->total_us;
    data->avg10 = line->avg10;
    data->avg60 = line->avg60;
    data->avg300 = line->avg300;
    return data;
}

static Runtime__V1__PsiStats *psi_stats(Arena *arena, const Crivirt__Agent__V1__Pressure *pressure)
{
    Runtime__V1__PsiStats *stats;

    if (pressure == NULL)
        return NULL;
    stats = arena_new0(arena, Runtime__V1__PsiStats, 1);
    runtime__v1__psi_stats__init(stats);
    stats->some = psi_data(arena, pressure->some);
    stats->full = psi_data(arena, pressure->full);
    return stats;
}

static Runtime__V1__IoUsage *io_usage(Arena *arena, gint64 at_ns, const CgroupUsage *cgroup)
{
    Runtime__V1__IoUsage *usage;

    if (cgroup == NULL || cgroup->io_pressure == NULL)
        return NULL;
    usage = arena_new0(arena, Runtime__V1__IoUsage, 1);
    runtime__v1__io_usage__init(usage);
    usage->timestamp = at_ns;
    usage->psi = psi_stats(arena, cgroup->io_pressure);
    return usage;
}

/* ---- containers ---- */

static Runtime__V1__CpuUsage *cpu_usage(Arena *arena, const SamplePair *pair, guint64 used_ns,
                                        gboolean has_before, guint64 before_ns,
                                        const Crivirt__Agent__V1__Pressure *pressure)
{
    Runtime__V1__CpuUsage *usage = arena_new0(arena, Runtime__V1__CpuUsage, 1);
    guint64 rate;

    runtime__v1__cpu_usage__init(usage);
    usage->timestamp = pair->last->at_ns;
    usage->usage_core_nano_seconds = uint64_value(arena, used_ns);
    if (has_before && sample_rate(pair, before_ns, used_ns, &rate))
        usage->usage_nano_cores = uint64_value(arena, rate);
    usage->psi = psi_stats(arena, pressure);
    return usage;
}

static Runtime__V1__MemoryUsage *memory_usage(Arena *arena, gint64 at_ns, const CgroupUsage *cgroup)
{
    Runtime__V1__MemoryUsage *usage = arena_new0(arena, Runtime__V1__MemoryUsage, 1);
    guint64 working_set = stats_working_set(cgroup->memory_current_bytes, cgroup->memory_inactive_file_bytes);

    runtime__v1__memory_usage__init(usage);
    usage->timestamp = at_ns;
    usage->usage_bytes = uint64_value(arena, cgroup->memory_current_bytes);
    usage->working_set_bytes = uint64_value(arena, working_set);
    usage->rss_bytes = uint64_value(arena, cgroup->memory_anon_bytes);
    usage->page_faults = uint64_value(arena, cgroup->page_faults);
    usage->major_page_faults = uint64_value(arena, cgroup->major_page_faults);
    if (cgroup->memory_max_bytes != 0)
        usage->available_bytes = uint64_value(
            arena, cgroup->memory_max_bytes > working_set ? cgroup->memory_max_bytes - working_set : 0);
    usage->psi = psi_stats(arena, cgroup->memory_pressure);
    return usage;
}

static Runtime__V1__SwapUsage *swap_usage(Arena *arena, gint64 at_ns, const CgroupUsage *cgroup)
{
    Runtime__V1__SwapUsage *usage = arena_new0(arena, Runtime__V1__SwapUsage, 1);
    guint64 used = cgroup->swap_current_bytes;

    runtime__v1__swap_usage__init(usage);
    usage->timestamp = at_ns;
    usage->swap_usage_bytes = uint64_value(arena, used);
    usage->swap_available_bytes =
        uint64_value(arena, cgroup->swap_max_bytes > used ? cgroup->swap_max_bytes - used : 0);
    return usage;
}

/* Writable layers are files on the file system of the state directory. */
static Runtime__V1__FilesystemUsage *layer_usage(const SandboxManager *manager, Arena *arena, gint64 at_ns,
                                                 const Crivirt__Agent__V1__DiskUsage *disk)
{
    Runtime__V1__FilesystemUsage *usage = arena_new0(arena, Runtime__V1__FilesystemUsage, 1);

    runtime__v1__filesystem_usage__init(usage);
    usage->timestamp = at_ns - (gint64)MIN(disk->age_ms, (guint64)G_MAXINT32) * NS_PER_MS;
    usage->fs_id = arena_new0(arena, Runtime__V1__FilesystemIdentifier, 1);
    runtime__v1__filesystem_identifier__init(usage->fs_id);
    usage->fs_id->mountpoint = (char *)manager->settings->server.state_dir;
    usage->used_bytes = uint64_value(arena, disk->bytes);
    usage->inodes_used = uint64_value(arena, disk->inodes);
    return usage;
}

static Runtime__V1__ContainerAttributes *container_attributes(const Container *container, Arena *arena)
{
    Runtime__V1__ContainerAttributes *attributes = arena_new0(arena, Runtime__V1__ContainerAttributes, 1);
    const Runtime__V1__ContainerConfig *config = container->config;

    runtime__v1__container_attributes__init(attributes);
    attributes->id = container->id;
    attributes->metadata = config->metadata;
    BORROW_MAP(attributes, config, labels);
    BORROW_MAP(attributes, config, annotations);
    return attributes;
}

static Runtime__V1__ContainerStats *container_message(Container *container, Arena *arena)
{
    Runtime__V1__ContainerStats *stats = arena_new0(arena, Runtime__V1__ContainerStats, 1);
    g_auto(SamplePair) pair = pod_sample(container->pod);
    const Crivirt__Agent__V1__ContainerUsage *last = sample_container(pair.last, container->guest_id);
    const Crivirt__Agent__V1__ContainerUsage *before = sample_container(pair.before, container->guest_id);

    runtime__v1__container_stats__init(stats);
    stats->attributes = container_attributes(container, arena);
    if (last == NULL || last->cgroup == NULL || container_state(container) == CONTAINER_EXITED_STATE)
        return stats;
    stats->cpu = cpu_usage(
        arena, &pair, last->cgroup->cpu_usage_us * NS_PER_US, before != NULL && before->cgroup != NULL,
        before != NULL && before->cgroup != NULL ? before->cgroup->cpu_usage_us * NS_PER_US : 0,
        last->cgroup->cpu_pressure);
    stats->memory = memory_usage(arena, pair.last->at_ns, last->cgroup);
    stats->swap = swap_usage(arena, pair.last->at_ns, last->cgroup);
    stats->io = io_usage(arena, pair.last->at_ns, last->cgroup);
    if (last->writable != NULL)
        stats->writable_layer = layer_usage(container->pod->manager, arena, pair.last->at_ns, last->writable);
    return stats;
}

/* Return: the pods of these containers, each once. The array, which the caller frees, borrows them. */
static GPtrArray *pods_of(const GPtrArray *containers)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    GPtrArray *pods = g_ptr_array_new();

    for (guint i = 0; i < containers->len; i++) {
        Pod *pod = ((Container *)containers->pdata[i])->pod;

        if (g_hash_table_add(seen, pod))
            g_ptr_array_add(pods, pod);
    }
    return pods;
}

/* The arena takes ownership of containers, because the messages borrow their strings. */
static gboolean container_messages(SandboxManager *manager, GPtrArray *containers, const Deadline *deadline,
                                   Arena *arena, Runtime__V1__ContainerStats ***ret_messages, size_t *ret_n,
                                   GError **error)
{
    g_autoptr(GPtrArray) pods = pods_of(containers);

    arena_hold(arena, containers, (GDestroyNotify)g_ptr_array_unref);
    sampler_refresh(manager->sampler, pods, FALSE, deadline);
    if (!deadline_check(deadline, "collecting statistics", error))
        return FALSE;
    *ret_messages = arena_new0(arena, Runtime__V1__ContainerStats *, containers->len);
    *ret_n = containers->len;
    for (guint i = 0; i < containers->len; i++)
        (*ret_messages)[i] = container_message(containers->pdata[i], arena);
    return TRUE;
}

gboolean container_stats(SandboxManager *manager, const Runtime__V1__ContainerStatsRequest *request,
                         const Deadline *deadline, Arena *arena,
                         Runtime__V1__ContainerStatsResponse *ret_response, GError **error)
{
    Container *container = manager_find_container(manager, request->container_id, error);
    GPtrArray *one;
    Runtime__V1__ContainerStats **messages;
    size_t n;

    if (container == NULL)
        return FALSE;
    one = g_ptr_array_new_with_free_func((GDestroyNotify)container_unref);
    g_ptr_array_add(one, container);
    if (!container_messages(manager, one, deadline, arena, &messages, &n, error))
        return FALSE;
    ret_response->stats = messages[0];
    return TRUE;
}

static gboolean container_matches(Container *container, const Runtime__V1__ContainerStatsFilter *filter)
{
    return container_state(container) != CONTAINER_CREATING &&
           (filter == NULL || LABELS_MATCH(filter, container->config));
}

gboolean container_stats_list(SandboxManager *manager, const Runtime__V1__ContainerStatsFilter *filter,
                              const Deadline *deadline, Arena *arena,
                              Runtime__V1__ListContainerStatsResponse *ret_response, GError **error)
{
    GPtrArray *containers = manager_containers_by_id(manager, filter != NULL ? filter->id : "",
                                                     filter != NULL ? filter->pod_sandbox_id : "");

    for (guint i = containers->len; i > 0; i--)
        if (!container_matches(containers->pdata[i - 1], filter))
            g_ptr_array_remove_index_fast(containers, i - 1);
    return container_messages(manager, containers, deadline, arena, &ret_response->stats,
                              &ret_response->n_stats, error);
}

/* ---- pods ---- */

static Runtime__V1__PodSandboxAttributes *pod_attributes(const Pod *pod, Arena *arena)
{
    Runtime__V1__PodSandboxAttributes *attributes = arena_new0(arena, Runtime__V1__PodSandboxAttributes, 1);

    runtime__v1__pod_sandbox_attributes__init(attributes);
    attributes->id = pod->id;
    attributes->metadata = pod->config->metadata;
    BORROW_MAP(attributes, pod->config, labels);
    BORROW_MAP(attributes, pod->config, annotations);
    return attributes;
}

static Runtime__V1__NetworkInterfaceUsage *interface_usage(Arena *arena,
                                                           const Crivirt__Agent__V1__InterfaceUsage *from)
{
    Runtime__V1__NetworkInterfaceUsage *usage = arena_new0(arena, Runtime__V1__NetworkInterfaceUsage, 1);

    runtime__v1__network_interface_usage__init(usage);
    usage->name = arena_strdup_utf8(arena, from->name);
    usage->rx_bytes = uint64_value(arena, from->rx_bytes);
    usage->rx_errors = uint64_value(arena, from->rx_errors);
    usage->tx_bytes = uint64_value(arena, from->tx_bytes);
    usage->tx_errors = uint64_value(arena, from->tx_errors);
    return usage;
}

/* Return: NULL when the sample has no eth0. The kubelet crashes on usage without a default interface. */
static Runtime__V1__NetworkUsage *network_usage(Arena *arena, const Sample *sample)
{
    Runtime__V1__NetworkUsage *usage = arena_new0(arena, Runtime__V1__NetworkUsage, 1);

    runtime__v1__network_usage__init(usage);
    usage->timestamp = sample->at_ns;
    usage->interfaces = arena_new0(arena, Runtime__V1__NetworkInterfaceUsage *, sample->stats->n_interfaces);
    for (size_t i = 0; i < sample->stats->n_interfaces; i++) {
        Runtime__V1__NetworkInterfaceUsage *interface = interface_usage(arena, sample->stats->interfaces[i]);

        if (usage->default_interface == NULL && g_str_equal(interface->name, "eth0"))
            usage->default_interface = interface;
        else
            usage->interfaces[usage->n_interfaces++] = interface;
    }
    return usage->default_interface != NULL ? usage : NULL;
}

static Runtime__V1__MemoryUsage *pod_memory_usage(Arena *arena, const Sample *sample)
{
    Runtime__V1__MemoryUsage *usage = arena_new0(arena, Runtime__V1__MemoryUsage, 1);
    const CgroupUsage *cgroup = sample->stats != NULL ? sample->stats->pod : NULL;

    runtime__v1__memory_usage__init(usage);
    usage->timestamp = sample->at_ns;
    usage->usage_bytes = uint64_value(arena, sample->node_memory_bytes);
    usage->working_set_bytes = uint64_value(arena, sample->node_memory_bytes);
    usage->rss_bytes = uint64_value(arena, sample->node_memory_bytes);
    if (sample->stats != NULL)
        usage->available_bytes = uint64_value(arena, sample->stats->memory_available_bytes);
    if (cgroup != NULL) {
        usage->page_faults = uint64_value(arena, cgroup->page_faults);
        usage->major_page_faults = uint64_value(arena, cgroup->major_page_faults);
        usage->psi = psi_stats(arena, cgroup->memory_pressure);
    }
    return usage;
}

static Runtime__V1__ProcessUsage *process_usage(Arena *arena, const Sample *sample)
{
    Runtime__V1__ProcessUsage *usage = arena_new0(arena, Runtime__V1__ProcessUsage, 1);
    guint64 processes = 0;

    for (size_t i = 0; i < sample->stats->n_containers; i++)
        if (sample->stats->containers[i]->cgroup != NULL)
            processes += sample->stats->containers[i]->cgroup->processes;
    runtime__v1__process_usage__init(usage);
    usage->timestamp = sample->at_ns;
    usage->process_count = uint64_value(arena, processes);
    return usage;
}

static void add_containers(Pod *pod, Arena *arena, Runtime__V1__LinuxPodSandboxStats *stats)
{
    GPtrArray *containers = pod_containers(pod);

    arena_hold(arena, containers, (GDestroyNotify)g_ptr_array_unref);
    stats->containers = arena_new0(arena, Runtime__V1__ContainerStats *, containers->len);
    for (guint i = 0; i < containers->len; i++)
        if (container_state(containers->pdata[i]) == CONTAINER_RUNNING_STATE)
            stats->containers[stats->n_containers++] = container_message(containers->pdata[i], arena);
}

static void add_figures(const Pod *pod, const SamplePair *pair, Arena *arena,
                        Runtime__V1__LinuxPodSandboxStats *stats)
{
    const Sample *sample = pair->last;
    const CgroupUsage *cgroup = sample->stats != NULL ? sample->stats->pod : NULL;

    if (sample->has_node_cost) {
        stats->cpu =
            cpu_usage(arena, pair, sample->node_cpu_ns, pair->before != NULL && pair->before->has_node_cost,
                      pair->before != NULL ? pair->before->node_cpu_ns : 0,
                      cgroup != NULL ? cgroup->cpu_pressure : NULL);
        stats->memory = pod_memory_usage(arena, sample);
    }
    stats->io = io_usage(arena, sample->at_ns, cgroup);
    if (sample->stats == NULL)
        return;
    if (pod_namespaces(pod->config)->network != RUNTIME__V1__NAMESPACE_MODE__NODE)
        stats->network = network_usage(arena, sample);
    stats->process = process_usage(arena, sample);
}

static Runtime__V1__PodSandboxStats *pod_message(Pod *pod, Arena *arena)
{
    Runtime__V1__PodSandboxStats *stats = arena_new0(arena, Runtime__V1__PodSandboxStats, 1);
    g_auto(SamplePair) pair = pod_sample(pod);

    runtime__v1__pod_sandbox_stats__init(stats);
    stats->attributes = pod_attributes(pod, arena);
    stats->linux = arena_new0(arena, Runtime__V1__LinuxPodSandboxStats, 1);
    runtime__v1__linux_pod_sandbox_stats__init(stats->linux);
    if (pair.last == NULL || pod_state(pod) != POD_READY)
        return stats;
    add_figures(pod, &pair, arena, stats->linux);
    add_containers(pod, arena, stats->linux);
    return stats;
}

/* The arena takes ownership of pods, because the messages borrow their strings. */
static gboolean pod_messages(SandboxManager *manager, GPtrArray *pods, const Deadline *deadline, Arena *arena,
                             Runtime__V1__PodSandboxStats ***ret_messages, size_t *ret_n, GError **error)
{
    arena_hold(arena, pods, (GDestroyNotify)g_ptr_array_unref);
    sampler_refresh(manager->sampler, pods, FALSE, deadline);
    if (!deadline_check(deadline, "collecting statistics", error))
        return FALSE;
    *ret_messages = arena_new0(arena, Runtime__V1__PodSandboxStats *, pods->len);
    *ret_n = pods->len;
    for (guint i = 0; i < pods->len; i++)
        (*ret_messages)[i] = pod_message(pods->pdata[i], arena);
    return TRUE;
}

gboolean sandbox_stats(SandboxManager *manager, const Runtime__V1__PodSandboxStatsRequest *request,
                       const Deadline *deadline, Arena *arena,
                       Runtime__V1__PodSandboxStatsResponse *ret_response, GError **error)
{
    Pod *pod = manager_find_pod(manager, request->pod_sandbox_id, error);
    GPtrArray *one;
    Runtime__V1__PodSandboxStats **messages;
    size_t n;

    if (pod == NULL)
        return FALSE;
    one = g_ptr_array_new_with_free_func((GDestroyNotify)pod_unref);
    g_ptr_array_add(one, pod);
    if (!pod_messages(manager, one, deadline, arena, &messages, &n, error))
        return FALSE;
    ret_response->stats = messages[0];
    return TRUE;
}

gboolean sandbox_stats_list(SandboxManager *manager, const Runtime__V1__PodSandboxStatsFilter *filter,
                            const Deadline *deadline, Arena *arena,
                            Runtime__V1__ListPodSandboxStatsResponse *ret_response, GError **error)
{
    GPtrArray *pods = manager_pods_by_id(manager, filter != NULL ? filter->id : "");

    for (guint i = pods->len; i > 0; i--) {
        Pod *pod = pods->pdata[i - 1];

        if (pod_state(pod) != POD_READY || (filter != NULL && !LABELS_MATCH(filter, pod->config)))
            g_ptr_array_remove_index_fast(pods, i - 1);
    }
    return pod_messages(manager, pods, deadline, arena, &ret_response->stats, &ret_response->n_stats, error);
}
