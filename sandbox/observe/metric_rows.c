/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/observe/metric_rows.h"

#include "sandbox/observe/stats.h"
#include "sandbox/sandbox.h"

typedef Crivirt__Agent__V1__CgroupUsage CgroupUsage;
typedef Crivirt__Agent__V1__ContainerUsage ContainerUsage;
typedef Crivirt__Agent__V1__InterfaceUsage InterfaceUsage;

enum { WRITABLE_DISK_INODES = 65536 /* of each writable disk (volumes/writable_disk.c) */ };

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

const MetricRow *metric_rows_of_containers(gsize *ret_n_rows)
{
    *ret_n_rows = G_N_ELEMENTS(container_rows);
    return container_rows;
}

const MetricRow *metric_rows_of_interfaces(gsize *ret_n_rows)
{
    *ret_n_rows = G_N_ELEMENTS(pod_rows);
    return pod_rows;
}

static guint64 stall(const Crivirt__Agent__V1__Pressure *pressure, gboolean full)
{
    const Crivirt__Agent__V1__PressureLine *line = NULL;

    if (pressure != NULL)
        line = full ? pressure->full : pressure->some;
    return line != NULL ? line->total_us : 0;
}

void metric_values_of_container(const ContainerUsage *c, const MetricSubject *m, guint64 *ret_values)
{
    const CgroupUsage *u = c->cgroup;
    guint n = 0;

#define CONTAINER_METRIC(name, type, keys, values, help, value) ret_values[n++] = (guint64)(value);
#include "sandbox/observe/metrics.def"
}

void metric_values_of_interface(const InterfaceUsage *i, guint64 *ret_values)
{
    guint n = 0;

#define POD_METRIC(name, type, keys, values, help, value) ret_values[n++] = (guint64)(value);
#include "sandbox/observe/metrics.def"
}

/* ---- descriptors ---- */

static const char *const common_keys[] = {"container", "id", "image", "name", "namespace", "pod"};
enum { N_COMMON = G_N_ELEMENTS(common_keys) };

/* Copies the words of text into the arena and appends them to labels, which has *n elements. */
static void add_words(Arena *arena, const char *text, char **labels, size_t *n)
{
    g_auto(GStrv) words = g_strsplit(text, " ", METRIC_FURTHER_LABELS_MAX);

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
        descriptor->label_keys = arena_new0(arena, char *, N_COMMON + METRIC_FURTHER_LABELS_MAX);
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
