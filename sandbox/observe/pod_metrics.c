/* SPDX-License-Identifier: Apache-2.0 */
/* ListPodSandboxMetrics, which is made from the rows of metrics.def. */

#include "common/error.h"
#include "sandbox/observe/metric_writer.h"
#include "sandbox/observe/sampler.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"

enum {
    NS_PER_S = 1000 * 1000 * 1000,
    SCRATCH_BYTES = 64 * 1024, /* what the labels and values of a pod need, as a rule */
};

/* A container that runs, referenced. */
typedef struct {
    Container *container;
    MetricSubject subject;
} Running;

typedef struct {
    const MetricTable *of_containers;
    const MetricTable *of_interfaces;
    Arena *scratch;  /* labels and values of one pod after the other */
    GArray *running; /* Running: the same */
    MetricWriter *writer;
} Metrics;

static void running_clear(gpointer running)
{
    container_unref(((Running *)running)->container);
}

static void metrics_init(Metrics *metrics, Arena *arena)
{
    gsize n_rows;
    const MetricRow *rows = metric_rows_of_containers(&n_rows);

    metrics->of_containers = metric_table_new(arena, rows, n_rows);
    rows = metric_rows_of_interfaces(&n_rows);
    metrics->of_interfaces = metric_table_new(arena, rows, n_rows);
    metrics->scratch = arena_new();
    metrics->running = g_array_new(FALSE, FALSE, sizeof(Running));
    g_array_set_clear_func(metrics->running, running_clear);
    metrics->writer = metric_writer_new(arena);
}

/* Gives the pods that were added to the message. */
static void metrics_finish(Metrics *metrics, ProtobufCMessage *message)
{
    metric_writer_finish(metrics->writer, message);
    g_array_unref(metrics->running);
    arena_free(metrics->scratch);
}

static guint64 positive(gint64 value)
{
    return (guint64)MAX(value, 0);
}

/* pod->lock is held. */
static MetricSubject subject_of_locked(const Container *container, const Sample *sample)
{
    const Runtime__V1__LinuxContainerResources *resources =
        container->config->linux != NULL ? container->config->linux->resources : NULL;
    MetricSubject subject = {
        .now_s = positive(sample->at_ns) / NS_PER_S,
        .disk_bytes = container->pod->manager->settings->guest.disk_bytes,
        .started_at_s = positive(container->started_at_ns) / NS_PER_S,
    };

    if (resources != NULL) {
        subject.cpu_period_us = positive(resources->cpu_period);
        subject.cpu_quota_us = positive(resources->cpu_quota);
        subject.cpu_shares = positive(resources->cpu_shares);
        subject.memory_limit_bytes = positive(resources->memory_limit_in_bytes);
        subject.swap_limit_bytes = positive(resources->memory_swap_limit_in_bytes);
    }
    return subject;
}

/* Adds the pod's containers that run to running. Return: its last sample, which the caller releases; NULL:
 * there is none, or the pod is not ready. */
static Sample *look_at_pod(Pod *pod, GArray *running)
{
    Sample *sample = NULL;
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&pod->lock);
    if (pod->state == POD_READY && pod->samples.last != NULL && pod->samples.last->stats != NULL)
        sample = sample_ref(pod->samples.last);
    g_hash_table_iter_init(&iter, pod->containers);
    while (sample != NULL && g_hash_table_iter_next(&iter, NULL, &value)) {
        Container *container = value;

        if (container->state == CONTAINER_RUNNING_STATE) {
            const Running item = {container_ref(container), subject_of_locked(container, sample)};

            g_array_append_val(running, item);
        }
    }
    g_mutex_unlock(&pod->lock);
    return sample;
}

static MetricLabels pod_labels(const Pod *pod, const Sample *sample)
{
    const Runtime__V1__PodSandboxMetadata *metadata = pod->config->metadata;

    return (MetricLabels){.at_ns = sample->at_ns,
                          .container_name = "",
                          .id = pod->id,
                          .image = "",
                          .pod_namespace = metadata->namespace_,
                          .pod_name = metadata->name};
}

static void add_interfaces(const Metrics *metrics, const Pod *pod, const Sample *sample, PodMetrics *to)
{
    MetricLabels labels = pod_labels(pod, sample);
    MetricSet *sets = arena_new0(metrics->scratch, MetricSet, sample->stats->n_interfaces);

    for (size_t i = 0; i < sample->stats->n_interfaces; i++) {
        labels.own = arena_strdup_utf8(metrics->scratch, sample->stats->interfaces[i]->name);
        metric_set_init(&sets[i], metrics->scratch, metrics->of_interfaces, &labels);
        metric_values_of_interface(sample->stats->interfaces[i], sets[i].values);
        metric_set_measure(&sets[i]);
    }
    to->sets = sets;
    to->n_sets = sample->stats->n_interfaces;
}

static void add_containers(const Metrics *metrics, const Pod *pod, const Sample *sample, PodMetrics *to)
{
    MetricLabels labels = pod_labels(pod, sample);
    MetricSet *sets = arena_new0(metrics->scratch, MetricSet, metrics->running->len);
    const char **ids = arena_new0(metrics->scratch, const char *, metrics->running->len);
    gsize n = 0;

    for (guint i = 0; i < metrics->running->len; i++) {
        const Running *running = &g_array_index(metrics->running, Running, i);
        const Container *container = running->container;
        const Crivirt__Agent__V1__ContainerUsage *usage = sample_container(sample, container->guest_id);

        if (usage == NULL || usage->cgroup == NULL)
            continue;
        labels.container_name = container->config->metadata->name;
        labels.id = ids[n] = container->id;
        labels.image = container->config->image->image;
        metric_set_init(&sets[n], metrics->scratch, metrics->of_containers, &labels);
        metric_values_of_container(usage, &running->subject, sets[n].values);
        metric_set_measure(&sets[n++]);
    }
    to->container_ids = ids;
    to->containers = sets;
    to->n_containers = n;
}

static void add_pod(const Metrics *metrics, Pod *pod)
{
    g_autoptr(Sample) sample = look_at_pod(pod, metrics->running);
    PodMetrics to = {.id = pod->id};

    if (sample == NULL)
        return;
    add_interfaces(metrics, pod, sample, &to);
    add_containers(metrics, pod, sample, &to);
    metric_writer_add(metrics->writer, &to);
    g_array_set_size(metrics->running, 0);
    arena_reset(metrics->scratch, SCRATCH_BYTES);
}

gboolean sandbox_metrics_list(SandboxManager *manager, const Deadline *deadline, Arena *arena,
                              Runtime__V1__ListPodSandboxMetricsResponse *ret_response, GError **error)
{
    g_autoptr(GPtrArray) pods = manager_pods(manager);
    g_autofree gpointer *taken = NULL;
    Metrics metrics;
    gsize n;

    sampler_refresh(manager->sampler, pods, TRUE, deadline);
    if (!deadline_check(deadline, "collecting metrics", error))
        return FALSE;
    metrics_init(&metrics, arena);
    taken = g_ptr_array_steal(pods, &n);
    for (gsize i = 0; i < n; i++) {
        add_pod(&metrics, taken[i]);
        pod_unref(taken[i]); /* while it is in the processor's caches */
    }
    metrics_finish(&metrics, &ret_response->base);
    return TRUE;
}
