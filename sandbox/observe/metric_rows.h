/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of metrics.def: metrics of containers, and of interfaces of pods, with the values that they have
 * in a sample. */
#pragma once

#include <glib.h>

#include "agent.pb-c.h"
#include "api.pb-c.h"

enum { METRIC_FURTHER_LABELS_MAX = 3 };

typedef struct {
    const char *name;
    Runtime__V1__MetricType type;
    const char *keys; /* further labels, separated by spaces */
    const char *values;
    const char *help;
} MetricRow;

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

/* Return: the rows, which are constant. */
const MetricRow *metric_rows_of_containers(gsize *ret_n_rows);
const MetricRow *metric_rows_of_interfaces(gsize *ret_n_rows);

/* Writes a value for each of the rows. usage: has a cgroup. */
void metric_values_of_container(const Crivirt__Agent__V1__ContainerUsage *usage, const MetricSubject *subject,
                                guint64 *ret_values);
void metric_values_of_interface(const Crivirt__Agent__V1__InterfaceUsage *usage, guint64 *ret_values);
