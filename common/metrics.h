/* SPDX-License-Identifier: Apache-2.0 */
/* Counters and histograms of the daemon, in Prometheus's text format
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 *     static Metric pulls = METRIC_COUNTER("crivirt_pulls_total", "Images pulled.", "result", NULL);
 *     metric_add(&pulls, 1, "ok", NULL);
 *
 * A metric is a static variable of the module that counts, and appears from its first use on; the list of
 * metrics belongs to the process, like the log. Any thread. Label values must come from small sets, because
 * each combination is kept for ever.
 */
#pragma once

#include <glib.h>

enum { METRIC_LABELS_MAX = 2 };

typedef enum { METRIC_KIND_COUNTER, METRIC_KIND_HISTOGRAM } MetricKind;

/* Only metrics.c uses the fields. */
typedef struct Metric {
    MetricKind kind;
    const char *name;
    const char *help;
    const char *labels[METRIC_LABELS_MAX]; /* names; NULL: not so many */
    GHashTable *series;
    struct Metric *next;
} Metric;

#define METRIC_COUNTER(name, help, ...)                                                                      \
    {                                                                                                        \
        METRIC_KIND_COUNTER, name, help, {__VA_ARGS__}, NULL, NULL                                           \
    }
/* Of seconds, in buckets from 5 ms to 2 min. */
#define METRIC_SECONDS(name, help, ...)                                                                      \
    {                                                                                                        \
        METRIC_KIND_HISTOGRAM, name, help, {__VA_ARGS__}, NULL, NULL                                         \
    }

/* Values for the labels that the metric has; NULL for others. */
void metric_add(Metric *metric, double amount, const char *label_1, const char *label_2);
void metric_observe(Metric *metric, double seconds, const char *label_1, const char *label_2);
/* Observes the time since begin_us, a g_get_monotonic_time(). */
void metric_observe_since(Metric *metric, gint64 begin_us, const char *label_1, const char *label_2);

/* Appends all metrics that were used. */
void metrics_format(GString *text);
/* Appends a metric whose value is found when it is scraped; label NULL: none. The caller appends the header
 * once, then a line for each value. */
void metrics_format_header(GString *text, const char *name, const char *type, const char *help);
void metrics_format_value(GString *text, const char *name, const char *label, const char *label_value,
                          double value);
