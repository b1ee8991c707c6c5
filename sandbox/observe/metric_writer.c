/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/observe/metric_writer.h"

#include <string.h>

enum {
    METRIC_BYTES = 320,    /* what a metric needs as a rule */
    PREFETCH_BYTES = 2048, /* how far ahead of what is written */
    CACHE_LINE_BYTES = 64,
    BLOCK_BYTES = 120 * 1024,      /* larger ones malloc gets from the kernel, and returns, each time */
    FIRST_BLOCK_BYTES = 15 * 1024, /* each block is twice the one before it */
};

/* The fields of Metric, UInt64Value and, with the same numbers, of ContainerMetrics and PodSandboxMetrics,
 * and of the lists. */
enum {
    FIELD_NAME = 1,
    FIELD_TIMESTAMP = 2,
    FIELD_TYPE = 3,
    FIELD_LABEL_VALUES = 4,
    FIELD_VALUE = 5,
    FIELD_OF_VALUE = 1,
    FIELD_ID = 1,
    FIELD_METRICS = 2,
    FIELD_CONTAINERS = 3,
    FIELD_PODS = 1,
};

#define TAG_OF_NUMBER(field) ((guint8)((field) << 3 | PROTOBUF_C_WIRE_TYPE_VARINT))
#define TAG_OF_BYTES(field) ((guint8)((field) << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED))

/* ---- encoding ---- */

static guint8 *put_varint(guint8 *to, guint64 number)
{
    for (; number >= 0x80; number >>= 7)
        *to++ = (guint8)(number | 0x80);
    *to++ = (guint8)number;
    return to;
}

static gsize varint_length(guint64 number)
{
    const gsize bits = 64 - (gsize)__builtin_clzll(number | 1);

    return (9 * bits + 64) / 64; /* bits / 7, rounded up, without a division */
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

/* The start of a field of so many bytes. */
static guint8 *put_length(guint8 *to, guint8 field, gsize length)
{
    *to++ = TAG_OF_BYTES(field);
    return put_varint(to, length);
}

static gsize bytes_length(gsize length)
{
    return 1 + varint_length(length) + length;
}

static guint8 *put_bytes(guint8 *to, guint8 field, const void *data, gsize length)
{
    to = put_length(to, field, length);
    memcpy(to, data, length);
    return to + length;
}

/* ---- rows ---- */

static guint8 *put_part(guint8 *to, const MetricBytes *part)
{
    if (part->length == 0)
        return to;
    memcpy(to, part->data, part->length);
    return to + part->length;
}

/* What all metrics of a row have in common, whichever container they are of. */
typedef struct {
    MetricBytes head;   /* name and type */
    MetricBytes labels; /* the values of further labels */
    gsize length;       /* of both */
} RowParts;

struct MetricTable {
    gsize n_rows;
    RowParts rows[];
};

static MetricBytes row_head(Arena *arena, const MetricRow *row)
{
    const gsize name_length = strlen(row->name);
    MetricBytes head = {.length = bytes_length(name_length) + number_length(row->type)};

    head.data = arena_alloc_raw(arena, head.length);
    put_number(put_bytes(head.data, FIELD_NAME, row->name, name_length), FIELD_TYPE, row->type);
    return head;
}

static MetricBytes row_labels(Arena *arena, const MetricRow *row)
{
    g_auto(GStrv) words = g_strsplit(row->values, " ", METRIC_FURTHER_LABELS_MAX);
    MetricBytes labels = {0};
    guint8 *end;

    for (guint i = 0; words[i] != NULL; i++)
        labels.length += bytes_length(strlen(words[i]));
    labels.data = end = arena_alloc_raw(arena, labels.length);
    for (guint i = 0; words[i] != NULL; i++)
        end = put_bytes(end, FIELD_LABEL_VALUES, words[i], strlen(words[i]));
    return labels;
}

const MetricTable *metric_table_new(Arena *arena, const MetricRow *rows, gsize n_rows)
{
    MetricTable *table = arena_alloc(arena, sizeof(MetricTable) + n_rows * sizeof(RowParts));

    table->n_rows = n_rows;
    for (gsize i = 0; i < n_rows; i++) {
        table->rows[i].head = row_head(arena, &rows[i]);
        if (*rows[i].values != '\0')
            table->rows[i].labels = row_labels(arena, &rows[i]);
        table->rows[i].length = table->rows[i].head.length + table->rows[i].labels.length;
    }
    return table;
}

/* ---- the metrics of a container or an interface ---- */

/* What stands in front of an id in a label. */
static const char id_prefix[] = "/crivirt/";
enum { ID_PREFIX_LENGTH = sizeof(id_prefix) - 1 };

static MetricBytes subject_head(Arena *arena, const MetricLabels *labels)
{
    const char *const texts[] = {labels->container_name, labels->id,      labels->image, labels->id,
                                 labels->pod_namespace,  labels->pod_name};
    enum { PATH = 1 }; /* the label that is an id with a prefix */
    gsize lengths[G_N_ELEMENTS(texts)];
    MetricBytes head = {.length = number_length((guint64)labels->at_ns)};
    guint8 *end;

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        lengths[i] = strlen(texts[i]);
        head.length += bytes_length(lengths[i] + (i == PATH ? ID_PREFIX_LENGTH : 0));
    }
    head.data = arena_alloc_raw(arena, head.length);
    end = put_number(head.data, FIELD_TIMESTAMP, (guint64)labels->at_ns);
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (i == PATH) {
            end = put_length(end, FIELD_LABEL_VALUES, ID_PREFIX_LENGTH + lengths[i]);
            memcpy(end, id_prefix, ID_PREFIX_LENGTH);
            memcpy(end + ID_PREFIX_LENGTH, texts[i], lengths[i]);
            end += ID_PREFIX_LENGTH + lengths[i];
        } else {
            end = put_bytes(end, FIELD_LABEL_VALUES, texts[i], lengths[i]);
        }
    }
    return head;
}

static MetricBytes subject_tail(Arena *arena, const char *label)
{
    const gsize length = strlen(label);
    MetricBytes tail = {.length = bytes_length(length)};

    tail.data = arena_alloc_raw(arena, tail.length);
    put_bytes(tail.data, FIELD_LABEL_VALUES, label, length);
    return tail;
}

void metric_set_init(MetricSet *set, Arena *arena, const MetricTable *table, const MetricLabels *labels)
{
    *set = (MetricSet){.table = table,
                       .values = arena_alloc_raw(arena, table->n_rows * sizeof(guint64)),
                       .head = subject_head(arena, labels)};
    if (labels->own != NULL)
        set->tail = subject_tail(arena, labels->own);
}

/* Return: how long a metric is without its tag and length. The value's length is a varint of one byte. */
static gsize metric_length(const MetricSet *set, const RowParts *row, guint64 value)
{
    return row->length + set->head.length + set->tail.length + 2 + number_length(value);
}

void metric_set_measure(MetricSet *set)
{
    set->length = 0;
    for (gsize i = 0; i < set->table->n_rows; i++)
        set->length += bytes_length(metric_length(set, &set->table->rows[i], set->values[i]));
}

/* The memory of a large answer is not in the processor's caches any more, and writes wait for it. */
static void prefetch(const guint8 *to)
{
    for (gsize i = 0; i < METRIC_BYTES; i += CACHE_LINE_BYTES)
        __builtin_prefetch(to + PREFETCH_BYTES + i, 1);
}

static guint8 *put_metric(guint8 *to, const MetricSet *set, const RowParts *row, guint64 value)
{
    prefetch(to);
    to = put_length(to, FIELD_METRICS, metric_length(set, row, value));
    to = put_part(to, &row->head);
    to = put_part(to, &set->head);
    to = put_part(to, &row->labels);
    to = put_part(to, &set->tail);
    to = put_length(to, FIELD_VALUE, number_length(value));
    return put_number(to, FIELD_OF_VALUE, value);
}

static guint8 *put_set(guint8 *to, const MetricSet *set)
{
    for (gsize i = 0; i < set->table->n_rows; i++)
        to = put_metric(to, set, &set->table->rows[i], set->values[i]);
    return to;
}

/* ---- the metrics of pods ---- */

struct MetricWriter {
    Arena *arena;
    GArray *blocks; /* ProtobufCMessageUnknownField */
    guint8 *begin;  /* of the block that is being filled */
    guint8 *end;    /* of what it has */
    gsize left;
    gsize block_bytes;
};

MetricWriter *metric_writer_new(Arena *arena)
{
    MetricWriter *writer = g_new0(MetricWriter, 1);

    writer->arena = arena;
    writer->blocks = g_array_new(FALSE, FALSE, sizeof(ProtobufCMessageUnknownField));
    writer->block_bytes = FIRST_BLOCK_BYTES;
    return writer;
}

/* protobuf-c writes the first tag of a field. */
static void close_block(MetricWriter *writer)
{
    const ProtobufCMessageUnknownField field = {.tag = FIELD_PODS,
                                                .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                                                .data = writer->begin + 1,
                                                .len = (gsize)(writer->end - writer->begin) - 1};

    if (writer->end > writer->begin)
        g_array_append_val(writer->blocks, field);
}

/* Return: where so many bytes can be written. */
static guint8 *reserve(MetricWriter *writer, gsize length)
{
    if (writer->left < length) {
        close_block(writer);
        writer->left = MAX(length, writer->block_bytes);
        writer->block_bytes = MIN(2 * writer->block_bytes, (gsize)BLOCK_BYTES);
        writer->begin = writer->end = arena_alloc_raw(writer->arena, writer->left);
    }
    return writer->end;
}

void metric_writer_add(MetricWriter *writer, const PodMetrics *pod)
{
    const gsize id_length = strlen(pod->id);
    gsize length = bytes_length(id_length);
    guint8 *to;

    for (gsize i = 0; i < pod->n_sets; i++)
        length += pod->sets[i].length;
    for (gsize i = 0; i < pod->n_containers; i++)
        length += bytes_length(bytes_length(strlen(pod->container_ids[i])) + pod->containers[i].length);
    to = reserve(writer, bytes_length(length));
    to = put_length(to, FIELD_PODS, length);
    to = put_bytes(to, FIELD_ID, pod->id, id_length);
    for (gsize i = 0; i < pod->n_containers; i++) {
        const char *id = pod->container_ids[i];

        to = put_length(to, FIELD_CONTAINERS, bytes_length(strlen(id)) + pod->containers[i].length);
        to = put_bytes(to, FIELD_ID, id, strlen(id));
        to = put_set(to, &pod->containers[i]);
    }
    for (gsize i = 0; i < pod->n_sets; i++)
        to = put_set(to, &pod->sets[i]);
    g_assert((gsize)(to - writer->end) == bytes_length(length));
    writer->left -= bytes_length(length);
    writer->end = to;
}

void metric_writer_finish(MetricWriter *writer, ProtobufCMessage *message)
{
    close_block(writer);
    message->n_unknown_fields = writer->blocks->len;
    message->unknown_fields = arena_new0(writer->arena, ProtobufCMessageUnknownField, writer->blocks->len);
    if (writer->blocks->len > 0)
        memcpy(message->unknown_fields, writer->blocks->data,
               writer->blocks->len * sizeof(ProtobufCMessageUnknownField));
    g_array_unref(writer->blocks);
    g_free(writer);
}
