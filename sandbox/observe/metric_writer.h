/* SPDX-License-Identifier: Apache-2.0 */
/* Writes metrics as protobuf encodes them (https://protobuf.dev/programming-guides/encoding/).
 *
 * Metrics are the largest answers by far: a container has sixty, of 250 bytes each, most of which are the
 * same labels again. So what they have in common is encoded once, and copied for each metric. protobuf-c,
 * which would measure and copy each string of each metric, takes the result as unknown fields of a message.
 *
 * All memory is the caller's arena's. All strings have to be UTF-8. Threads: as an arena.
 */
#pragma once

#include "common/arena.h"
#include "sandbox/observe/metric_rows.h"

/* Rows with what all metrics of a row have in common. */
typedef struct MetricTable MetricTable;

const MetricTable *metric_table_new(Arena *arena, const MetricRow *rows, gsize n_rows);

/* The container or the interface that metrics are of. */
typedef struct {
    gint64 at_ns;
    const char *container_name; /* "": an interface of the pod */
    const char *id;             /* the container's, or the pod's */
    const char *image;
    const char *pod_namespace;
    const char *pod_name;
    const char *own; /* one more label, behind those of the row; NULL: none */
} MetricLabels;

typedef struct {
    guint8 *data;
    gsize length;
} MetricBytes;

/* The metrics of one container or interface, one for each row of the table. */
typedef struct {
    const MetricTable *table;
    guint64 *values;
    MetricBytes head; /* the time, and the values of the first labels */
    MetricBytes tail; /* those behind the row's */
    gsize length;     /* of all metrics, encoded */
} MetricSet;

/* Sets all but the values and the length. The values, of which there is one for each row, are to be written.
 */
void metric_set_init(MetricSet *set, Arena *arena, const MetricTable *table, const MetricLabels *labels);
/* Sets the length, when the values are there. */
void metric_set_measure(MetricSet *set);

/* The metrics of a pod: those of its interfaces, and those of each container, all of them measured. */
typedef struct {
    const char *id;
    const MetricSet *sets;
    gsize n_sets;
    const char *const *container_ids;
    const MetricSet *containers;
    gsize n_containers;
} PodMetrics;

/* Collects pods in large blocks of memory, which can be sent from where they are. */
typedef struct MetricWriter MetricWriter;

MetricWriter *metric_writer_new(Arena *arena);
void metric_writer_add(MetricWriter *writer, const PodMetrics *pod);
/* Makes what was added the first field of the message: repeated PodSandboxMetrics. A block is one unknown
 * field, which consists of whole pods. Frees the writer. */
void metric_writer_finish(MetricWriter *writer, ProtobufCMessage *message);
