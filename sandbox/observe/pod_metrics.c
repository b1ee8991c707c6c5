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

/* ---- encoding ---- */

/* Metrics are the largest answers by far: a container has sixty, of 250 bytes each, most of which are the
 * same labels again. So a container's metrics are encoded here, one after the other, and protobuf-c, which
 * would measure and copy each string of each metric, sends the bytes as a field of the message. All strings
 * are UTF-8: names that a client has sent, and the names of interfaces, repaired. */

enum { VARINT_BYTES_MAX = 10 };

/* The fields of Metric, UInt64Value and, with the same number, of ContainerMetrics and PodSandboxMetrics. */
enum {
    FIELD_NAME = 1,
    FIELD_TIMESTAMP = 2,
    FIELD_TYPE = 3,
    FIELD_LABEL_VALUES = 4,
    FIELD_VALUE = 5,
    FIELD_OF_VALUE = 1,
    FIELD_METRICS = 2,
};

#define TAG_OF_NUMBER(field) ((guint8)((field) << 3 | PROTOBUF_C_WIRE_TYPE_VARINT))
#define TAG_OF_BYTES(field) ((guint8)((field) << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED))

typedef struct {
    guint8 *data;
    gsize length;
} Bytes;

static guint8 *put_varint(guint8 *to, guint64 number)
{
    for (; number >= 0x80; number >>= 7)
        *to++ = (guint8)(number | 0x80);
    *to++ = (guint8)number;
    return to;
}

static gsize varint_length(guint64 number)
{
    gsize length = 1;

    for (; number >= 0x80; number >>= 7)
        length++;
    return length;
}

/* As in proto3, a number that is zero is left out. */
static guint8 *put_number(guint8 *to, guint8 field, guint64 number)
{
    if (number == 0)
        return to;
    *to++ = TAG_OF_NUMBER(field);
    return put_varint(to, number);
}

static gsize number_length(guint64 number)
{
    return number == 0 ? 0 : 1 + varint_length(number);
}

static guint8 *put_bytes(guint8 *to, guint8 field, const void *data, gsize length)
{
    *to++ = TAG_OF_BYTES(field);
    to = put_varint(to, length);
    memcpy(to, data, length);
    return to + length;
}

/* Encodes the strings as values of one field, behind so many bytes that are left free. */
static Bytes encode_strings(Arena *arena, guint8 field, char *const *values, gsize n_values, gsize free_bytes)
{
    Bytes bytes = {0};
    gsize room = free_bytes;
    guint8 *end;

    for (gsize i = 0; i < n_values; i++)
        room += 1 + VARINT_BYTES_MAX + strlen(values[i]);
    bytes.data = arena_alloc_raw(arena, room);
    end = bytes.data + free_bytes;
    for (gsize i = 0; i < n_values; i++)
        end = put_bytes(end, field, values[i], strlen(values[i]));
    bytes.length = (gsize)(end - bytes.data);
    return bytes;
}

/* ---- metrics ---- */

/* What all metrics of a row have in common, whichever container they are of. */
typedef struct {
    Bytes head;   /* name and type */
    Bytes labels; /* the values of further labels */
} RowParts;

/* The parts of all rows, for all messages of a response. */
typedef struct {
    RowParts container_rows[G_N_ELEMENTS(container_rows)];
    RowParts pod_rows[G_N_ELEMENTS(pod_rows)];
} Parts;

/* What all metrics of a container or of an interface have in common. */
typedef struct {
    Bytes head;   /* the time, and the values of the first labels */
    Bytes labels; /* those behind the row's */
} SubjectParts;

/* What the head of a row needs at most beside its name: tags, a length and a number. */
enum { ROW_HEAD_BYTES = 2 + 2 * VARINT_BYTES_MAX };

static void row_parts(Arena *arena, const MetricRow *rows, gsize n_rows, RowParts *ret_parts)
{
    for (gsize i = 0; i < n_rows; i++) {
        const gsize name_length = strlen(rows[i].name);
        g_auto(GStrv) words = g_strsplit(rows[i].values, " ", N_FURTHER_MAX);
        guint8 *end;

        ret_parts[i].head.data = arena_alloc_raw(arena, name_length + ROW_HEAD_BYTES);
        end = put_bytes(ret_parts[i].head.data, FIELD_NAME, rows[i].name, name_length);
        end = put_number(end, FIELD_TYPE, rows[i].type);
        ret_parts[i].head.length = (gsize)(end - ret_parts[i].head.data);
        if (*rows[i].values != '\0')
            ret_parts[i].labels = encode_strings(arena, FIELD_LABEL_VALUES, words, g_strv_length(words), 0);
    }
}

static Parts *parts_new(Arena *arena)
{
    Parts *parts = arena_new0(arena, Parts, 1);

    row_parts(arena, container_rows, G_N_ELEMENTS(container_rows), parts->container_rows);
    row_parts(arena, pod_rows, G_N_ELEMENTS(pod_rows), parts->pod_rows);
    return parts;
}

static guint8 *put_part(guint8 *to, const Bytes *part)
{
    memcpy(to, part->data, part->length);
    return to + part->length;
}

static guint8 *put_metric(guint8 *to, const RowParts *row, const SubjectParts *subject, guint64 value)
{
    const gsize value_length = number_length(value);

    *to++ = TAG_OF_BYTES(FIELD_METRICS);
    to = put_varint(to, row->head.length + subject->head.length + row->labels.length +
                            subject->labels.length + 1 + varint_length(value_length) + value_length);
    to = put_part(to, &row->head);
    to = put_part(to, &subject->head);
    if (row->labels.length > 0)
        to = put_part(to, &row->labels);
    if (subject->labels.length > 0)
        to = put_part(to, &subject->labels);
    *to++ = TAG_OF_BYTES(FIELD_VALUE);
    to = put_varint(to, value_length);
    return put_number(to, FIELD_OF_VALUE, value);
}

/* METRIC_BYTES: what a metric needs at most beside its parts: tags, lengths and numbers. */
enum { METRIC_BYTES = 3 + 3 * VARINT_BYTES_MAX };

/* Return: how many bytes the metrics of one subject need at most. */
static gsize metrics_room(const RowParts *rows, gsize n_rows, const SubjectParts *subject)
{
    gsize room = n_rows * (METRIC_BYTES + subject->head.length + subject->labels.length);

    for (gsize i = 0; i < n_rows; i++)
        room += rows[i].head.length + rows[i].labels.length;
    return room;
}

/* Adds one metric for each row, for which there is room. */
static void metrics_add(const RowParts *rows, gsize n_rows, const SubjectParts *subject,
                        const guint64 *values, Bytes *metrics)
{
    guint8 *end = metrics->data + metrics->length;

    for (gsize i = 0; i < n_rows; i++)
        end = put_metric(end, &rows[i], subject, values[i]);
    metrics->length = (gsize)(end - metrics->data);
}

/* Makes the metrics the field `metrics` of a message. protobuf-c writes the first tag. */
static void metrics_attach(Arena *arena, const Bytes *metrics, ProtobufCMessage *message)
{
    ProtobufCMessageUnknownField *field;

    if (metrics->length == 0)
        return;
    field = arena_new0(arena, ProtobufCMessageUnknownField, 1);
    field->tag = FIELD_METRICS;
    field->wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
    field->data = metrics->data + 1;
    field->len = metrics->length - 1;
    message->unknown_fields = field;
    message->n_unknown_fields = 1;
}

/* own_label: the value of one more label, behind those of the row; NULL: none. */
static SubjectParts subject_parts(const Pod *pod, const Container *container, gint64 at_ns, char *own_label,
                                  Arena *arena)
{
    enum { TIME_BYTES = 1 + VARINT_BYTES_MAX };
    const Runtime__V1__PodSandboxMetadata *metadata = pod->config->metadata;
    char *id = container != NULL ? container->id : pod->id;
    char *const values[N_COMMON] = {
        container != NULL ? container->config->metadata->name : (char *)"",
        arena_printf(arena, "/crivirt/%s", id),
        container != NULL ? container->config->image->image : (char *)"",
        id,
        metadata->namespace_,
        metadata->name,
    };
    SubjectParts parts = {.head = encode_strings(arena, FIELD_LABEL_VALUES, values, N_COMMON, TIME_BYTES)};
    const gsize unused = TIME_BYTES - number_length((guint64)at_ns);

    parts.head.data += unused;
    parts.head.length -= unused;
    put_number(parts.head.data, FIELD_TIMESTAMP, (guint64)at_ns);
    if (own_label != NULL)
        parts.labels = encode_strings(arena, FIELD_LABEL_VALUES, &own_label, 1, 0);
    return parts;
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
                                                        const Sample *sample, const Parts *parts,
                                                        Arena *arena)
{
    Runtime__V1__ContainerMetrics *message = arena_new0(arena, Runtime__V1__ContainerMetrics, 1);
    MetricSubject subject = subject_of(container, sample);
    const SubjectParts own = subject_parts(container->pod, container, sample->at_ns, NULL, arena);
    guint64 values[G_N_ELEMENTS(container_rows)];
    Bytes metrics = {0};

    container_values(usage, &subject, values);
    runtime__v1__container_metrics__init(message);
    message->container_id = container->id;
    metrics.data =
        arena_alloc_raw(arena, metrics_room(parts->container_rows, G_N_ELEMENTS(container_rows), &own));
    metrics_add(parts->container_rows, G_N_ELEMENTS(container_rows), &own, values, &metrics);
    metrics_attach(arena, &metrics, &message->base);
    return message;
}

static void add_interfaces(Pod *pod, const Sample *sample, const Parts *parts, Arena *arena,
                           Runtime__V1__PodSandboxMetrics *message)
{
    const size_t n_interfaces = sample->stats->n_interfaces;
    SubjectParts *interfaces = arena_new0(arena, SubjectParts, n_interfaces);
    Bytes metrics = {0};
    gsize room = 0;

    for (size_t i = 0; i < n_interfaces; i++) {
        char *name = arena_strdup_utf8(arena, sample->stats->interfaces[i]->name);

        interfaces[i] = subject_parts(pod, NULL, sample->at_ns, name, arena);
        room += metrics_room(parts->pod_rows, G_N_ELEMENTS(pod_rows), &interfaces[i]);
    }
    metrics.data = arena_alloc_raw(arena, room);
    for (size_t i = 0; i < n_interfaces; i++) {
        guint64 values[G_N_ELEMENTS(pod_rows)];

        interface_values(sample->stats->interfaces[i], values);
        metrics_add(parts->pod_rows, G_N_ELEMENTS(pod_rows), &interfaces[i], values, &metrics);
    }
    metrics_attach(arena, &metrics, &message->base);
}

/* Return: NULL when there is no sample of the pod. */
static Runtime__V1__PodSandboxMetrics *pod_message(Pod *pod, const Parts *parts, Arena *arena)
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
    add_interfaces(pod, pair.last, parts, arena, message);
    message->container_metrics = arena_new0(arena, Runtime__V1__ContainerMetrics *, containers->len);
    for (guint i = 0; i < containers->len; i++) {
        Container *container = containers->pdata[i];
        const ContainerUsage *usage = sample_container(pair.last, container->guest_id);

        if (usage != NULL && usage->cgroup != NULL && container_state(container) == CONTAINER_RUNNING_STATE)
            message->container_metrics[message->n_container_metrics++] =
                container_message(container, usage, pair.last, parts, arena);
    }
    return message;
}

gboolean sandbox_metrics_list(SandboxManager *manager, const Deadline *deadline, Arena *arena,
                              Runtime__V1__ListPodSandboxMetricsResponse *ret_response, GError **error)
{
    GPtrArray *pods = manager_pods(manager);
    const Parts *parts = parts_new(arena);

    arena_hold(arena, pods, (GDestroyNotify)g_ptr_array_unref);
    for (guint i = pods->len; i > 0; i--)
        if (pod_state(pods->pdata[i - 1]) != POD_READY)
            g_ptr_array_remove_index_fast(pods, i - 1);
    sampler_refresh(manager->sampler, pods, TRUE, deadline);
    if (!deadline_check(deadline, "collecting metrics", error))
        return FALSE;
    ret_response->pod_metrics = arena_new0(arena, Runtime__V1__PodSandboxMetrics *, pods->len);
    for (guint i = 0; i < pods->len; i++) {
        Runtime__V1__PodSandboxMetrics *message = pod_message(pods->pdata[i], parts, arena);

        if (message != NULL)
            ret_response->pod_metrics[ret_response->n_pod_metrics++] = message;
    }
    return TRUE;
}
