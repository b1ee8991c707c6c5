/* SPDX-License-Identifier: Apache-2.0 */
/* ListMetricDescriptors and ListPodSandboxMetrics, which are made from the rows of metrics.def. */

#include <string.h>

#include "common/error.h"
#include "sandbox/observe/sampler.h"
#include "sandbox/observe/stats.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"

typedef Crivirt__Agent__V1__CgroupUsage CgroupUsage;
typedef Crivirt__Agent__V1__ContainerUsage ContainerUsage;
typedef Crivirt__Agent__V1__InterfaceUsage InterfaceUsage;

enum {
    WRITABLE_DISK_INODES = 65536 /* of each writable disk (volumes/writable_disk.c) */,
    NS_PER_S = 1000 * 1000 * 1000
};

/* Values of a container that its guest does not report. */
typedef struct {
    guint64 now_s;
    guint64 started_at_s;
    guint64 disk_bytes;
    guint64 cpu_period_us;
    guint64 cpu_quota_us;
    guint64 cpu_shares;
    guint64 memory_limit_bytes;
    guint64 swap_limit_bytes;
} MetricSubject;

typedef struct {
    const char *name;
    Runtime__V1__MetricType type;
    const char *keys; /* further labels, separated by spaces */
    const char *values;
    const char *help;
} MetricRow;

#define TYPE_COUNTER RUNTIME__V1__METRIC_TYPE__COUNTER
#define TYPE_GAUGE RUNTIME__V1__METRIC_TYPE__GAUGE

static const MetricRow container_rows[] = {
#define CONTAINER_METRIC(name, type, keys, values, help, value) {#name, TYPE_##type, keys, values, help},
#include "sandbox/observe/metrics.def"
};

static const MetricRow pod_rows[] = {
#define POD_METRIC(name, type, keys, values, help, value) {#name, TYPE_##type, keys, values, help},
#include "sandbox/observe/metrics.def"
};

static guint64 stall(const Crivirt__Agent__V1__Pressure *pressure, gboolean full)
{
    const Crivirt__Agent__V1__PressureLine *line = NULL;

    if (pressure != NULL)
        line = full ? pressure->full : pressure->some;
    return line != NULL ? line->total_us : 0;
}

static void container_values(const ContainerUsage *c, const MetricSubject *m, guint64 *ret_values)
{
    const CgroupUsage *u = c->cgroup;
    guint n = 0;

#define CONTAINER_METRIC(name, type, keys, values, help, value) ret_values[n++] = (guint64)(value);
#include "sandbox/observe/metrics.def"
}

static void interface_values(const InterfaceUsage *i, guint64 *ret_values)
{
    guint n = 0;

#define POD_METRIC(name, type, keys, values, help, value) ret_values[n++] = (guint64)(value);
#include "sandbox/observe/metrics.def"
}

/* ---- descriptors ---- */

static const char *const common_keys[] = {"container", "id", "image", "name", "namespace", "pod"};
enum { N_COMMON = G_N_ELEMENTS(common_keys), N_FURTHER_MAX = 3 };

/* Copies the words of text into the arena and appends them to labels, which has *n elements. */
static void add_words(Arena *arena, const char *text, char **labels, size_t *n)
{
    g_auto(GStrv) words = g_strsplit(text, " ", N_FURTHER_MAX);

    for (guint i = 0; words[i] != NULL && *words[i] != '\0'; i++)
        labels[(*n)++] = arena_strdup(arena, words[i]);
}

static void describe(Arena *arena, const MetricRow *rows, gsize n_rows,
                     Runtime__V1__ListMetricDescriptorsResponse *response)
{
    for (gsize i = 0; i < n_rows; i++) {
        Runtime__V1__MetricDescriptor *descriptor;

        if (i > 0 && g_str_equal(rows[i].name, rows[i - 1].name))
            continue; /* the same metric with another value of a label */
        descriptor = arena_new0(arena, Runtime__V1__MetricDescriptor, 1);
        runtime__v1__metric_descriptor__init(descriptor);
        descriptor->name = arena_strdup(arena, rows[i].name);
        descriptor->help = arena_strdup(arena, rows[i].help);
        descriptor->label_keys = arena_new0(arena, char *, N_COMMON + N_FURTHER_MAX);
        for (guint k = 0; k < N_COMMON; k++)
            descriptor->label_keys[descriptor->n_label_keys++] = arena_strdup(arena, common_keys[k]);
        add_words(arena, rows[i].keys, descriptor->label_keys, &descriptor->n_label_keys);
        response->descriptors[response->n_descriptors++] = descriptor;
    }
}

void sandbox_metric_descriptors(Arena *arena, Runtime__V1__ListMetricDescriptorsResponse *ret_response)
{
    ret_response->descriptors = arena_new0(arena, Runtime__V1__MetricDescriptor *,
                                           G_N_ELEMENTS(container_rows) + G_N_ELEMENTS(pod_rows));
    describe(arena, container_rows, G_N_ELEMENTS(container_rows), ret_response);
    describe(arena, pod_rows, G_N_ELEMENTS(pod_rows), ret_response);
}

/* ---- metrics ---- */

/* The first labels of all metrics of a container or pod. The metrics share the strings. */
typedef struct {
    char *values[N_COMMON];
} CommonLabels;

/* The values of a row's further labels, which are the same for every pod. */
typedef struct {
    char *words[N_FURTHER_MAX];
    size_t n_words;
} FurtherLabels;

/* The further labels of all rows. All messages of a response share them. */
typedef struct {
    FurtherLabels container_rows[G_N_ELEMENTS(container_rows)];
    FurtherLabels pod_rows[G_N_ELEMENTS(pod_rows)];
} Further;

static void further_labels(Arena *arena, const MetricRow *rows, gsize n_rows, FurtherLabels *ret_labels)
{
    for (gsize i = 0; i < n_rows; i++)
        add_words(arena, rows[i].values, ret_labels[i].words, &ret_labels[i].n_words);
}

static Further *further_new(Arena *arena)
{
    Further *further = arena_new0(arena, Further, 1);

    further_labels(arena, container_rows, G_N_ELEMENTS(container_rows), further->container_rows);
    further_labels(arena, pod_rows, G_N_ELEMENTS(pod_rows), further->pod_rows);
    return further;
}

typedef struct {
    char **values;
    size_t n;
} Labels;

static Labels labels_new(Arena *arena, const CommonLabels *common, const FurtherLabels *further, char *own)
{
    Labels labels = {.values = arena_new0(arena, char *, N_COMMON + N_FURTHER_MAX + 1), .n = N_COMMON};

    memcpy(labels.values, common->values, sizeof(common->values));
    for (size_t i = 0; i < further->n_words; i++)
        labels.values[labels.n++] = further->words[i];
    if (own != NULL)
        labels.values[labels.n++] = own;
    return labels;
}

/* Makes one metric for each row, all in one allocation. own_label: the value of one more label, after those
 * of the row; NULL: none. Metrics with the same labels share them. */
static void metrics_add(Arena *arena, const MetricRow *rows, const FurtherLabels *further, gsize n_rows,
                        const CommonLabels *common, char *own_label, gint64 at_ns, const guint64 *values,
                        Runtime__V1__Metric **metrics)
{
    static const Runtime__V1__Metric no_metric = RUNTIME__V1__METRIC__INIT;
    static const Runtime__V1__UInt64Value no_value = RUNTIME__V1__UINT64_VALUE__INIT;
    typedef struct {
        Runtime__V1__Metric metric;
        Runtime__V1__UInt64Value value;
    } Piece;
    Piece *pieces = arena_alloc(arena, n_rows * sizeof(Piece));
    Labels plain = labels_new(arena, common, &(FurtherLabels){0}, own_label);

    for (gsize i = 0; i < n_rows; i++) {
        Piece *piece = &pieces[i];
        Labels labels = further[i].n_words == 0 ? plain : labels_new(arena, common, &further[i], own_label);

        piece->value = no_value;
        piece->value.value = values[i];
        piece->metric = no_metric;
        piece->metric.name = (char *)rows[i].name;
        piece->metric.timestamp = at_ns;
        piece->metric.metric_type = rows[i].type;
        piece->metric.label_values = labels.values;
        piece->metric.n_label_values = labels.n;
        piece->metric.value = &piece->value;
        metrics[i] = &piece->metric;
    }
}

static void common_labels(const Pod *pod, const Container *container, Arena *arena, CommonLabels *ret_labels)
{
    const Runtime__V1__PodSandboxMetadata *metadata = pod->config->metadata;
    char *id = container != NULL ? container->id : pod->id;

    *ret_labels = (CommonLabels){{
        container != NULL ? container->config->metadata->name : (char *)"",
        arena_printf(arena, "/crivirt/%s", id),
        container != NULL ? container->config->image->image : (char *)"",
        id,
        metadata->namespace_,
        metadata->name,
    }};
}

static guint64 positive(gint64 value)
{
    return (guint64)MAX(value, 0);
}

static MetricSubject subject_of(Container *container, const Sample *sample)
{
    const Runtime__V1__LinuxContainerResources *resources =
        container->config->linux != NULL ? container->config->linux->resources : NULL;
    MetricSubject subject = {
        .now_s = positive(sample->at_ns) / NS_PER_S,
        .disk_bytes = container->pod->manager->settings->guest.disk_bytes,
    };

    g_mutex_lock(&container->pod->lock);
    subject.started_at_s = positive(container->started_at_ns) / NS_PER_S;
    if (resources != NULL) {
        subject.cpu_period_us = positive(resources->cpu_period);
        subject.cpu_quota_us = positive(resources->cpu_quota);
        subject.cpu_shares = positive(resources->cpu_shares);
        subject.memory_limit_bytes = positive(resources->memory_limit_in_bytes);
        subject.swap_limit_bytes = positive(resources->memory_swap_limit_in_bytes);
    }
    g_mutex_unlock(&container->pod->lock);
    return subject;
}

static Runtime__V1__ContainerMetrics *container_message(Container *container, const ContainerUsage *usage,
                                                        const Sample *sample, const Further *further,
                                                        Arena *arena)
{
    Runtime__V1__ContainerMetrics *message = arena_new0(arena, Runtime__V1__ContainerMetrics, 1);
    MetricSubject subject = subject_of(container, sample);
    guint64 values[G_N_ELEMENTS(container_rows)];
    CommonLabels labels;

    common_labels(container->pod, container, arena, &labels);
    container_values(usage, &subject, values);
    runtime__v1__container_metrics__init(message);
    message->container_id = container->id;
    message->metrics = arena_new0(arena, Runtime__V1__Metric *, G_N_ELEMENTS(container_rows));
    message->n_metrics = G_N_ELEMENTS(container_rows);
    metrics_add(arena, container_rows, further->container_rows, G_N_ELEMENTS(container_rows), &labels, NULL,
                sample->at_ns, values, message->metrics);
    return message;
}

static void add_interfaces(Pod *pod, const Sample *sample, const Further *further, Arena *arena,
                           Runtime__V1__PodSandboxMetrics *message)
{
    CommonLabels labels;

    common_labels(pod, NULL, arena, &labels);
    message->metrics =
        arena_new0(arena, Runtime__V1__Metric *, sample->stats->n_interfaces * G_N_ELEMENTS(pod_rows));
    for (size_t i = 0; i < sample->stats->n_interfaces; i++) {
        const InterfaceUsage *interface = sample->stats->interfaces[i];
        char *name = arena_strdup_utf8(arena, interface->name);
        guint64 values[G_N_ELEMENTS(pod_rows)];

        interface_values(interface, values);
        metrics_add(arena, pod_rows, further->pod_rows, G_N_ELEMENTS(pod_rows), &labels, name, sample->at_ns,
                    values, message->metrics + message->n_metrics);
        message->n_metrics += G_N_ELEMENTS(pod_rows);
    }
}

/* Return: NULL when there is no sample of the pod. */
static Runtime__V1__PodSandboxMetrics *pod_message(Pod *pod, const Further *further, Arena *arena)
{
    Runtime__V1__PodSandboxMetrics *message;
    g_auto(SamplePair) pair = pod_sample(pod);
    GPtrArray *containers;

    if (pair.last == NULL || pair.last->stats == NULL)
        return NULL;
    containers = pod_containers(pod);
    arena_hold(arena, containers, (GDestroyNotify)g_ptr_array_unref);
    message = arena_new0(arena, Runtime__V1__PodSandboxMetrics, 1);
    runtime__v1__pod_sandbox_metrics__init(message);
    message->pod_sandbox_id = pod->id;
    add_interfaces(pod, pair.last, further, arena, message);
    message->container_metrics = arena_new0(arena, Runtime__V1__ContainerMetrics *, containers->len);
    for (guint i = 0; i < containers->len; i++) {
        Container *container = containers->pdata[i];
        const ContainerUsage *usage = sample_container(pair.last, container->id);

        if (usage != NULL && usage->cgroup != NULL && container_state(container) == CONTAINER_RUNNING_STATE)
            message->container_metrics[message->n_container_metrics++] =
                container_message(container, usage, pair.last, further, arena);
    }
    return message;
}

gboolean sandbox_metrics_list(SandboxManager *manager, const Deadline *deadline, Arena *arena,
                              Runtime__V1__ListPodSandboxMetricsResponse *ret_response, GError **error)
{
    GPtrArray *pods = manager_pods(manager);
    const Further *further = further_new(arena);

    arena_hold(arena, pods, (GDestroyNotify)g_ptr_array_unref);
    for (guint i = pods->len; i > 0; i--)
        if (pod_state(pods->pdata[i - 1]) != POD_READY)
            g_ptr_array_remove_index_fast(pods, i - 1);
    sampler_refresh(manager->sampler, pods, TRUE, deadline);
    if (!deadline_check(deadline, "collecting metrics", error))
        return FALSE;
    ret_response->pod_metrics = arena_new0(arena, Runtime__V1__PodSandboxMetrics *, pods->len);
    for (guint i = 0; i < pods->len; i++) {
        Runtime__V1__PodSandboxMetrics *message = pod_message(pods->pdata[i], further, arena);

        if (message != NULL)
            ret_response->pod_metrics[ret_response->n_pod_metrics++] = message;
    }
    return TRUE;
}
