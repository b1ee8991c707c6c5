/* SPDX-License-Identifier: Apache-2.0 */
#include "common/metrics.h"

#include "common/string_table.h"

static const double BUCKETS[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
enum { N_BUCKETS = G_N_ELEMENTS(BUCKETS) };

typedef struct {
    double sum; /* a counter's value */
    guint64 count;
    guint64 buckets[N_BUCKETS]; /* not cumulated */
} Series;

static GMutex lock; /* of all metrics; held for a few hundred nanoseconds */
static Metric *metrics;

/* Prometheus's escapes in label values. */
static void append_escaped(GString *text, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            g_string_append_c(text, '\\');
        if (*value == '\n')
            g_string_append(text, "\\n");
        else
            g_string_append_c(text, *value);
    }
}

static void append_label(GString *text, const char *name, const char *value)
{
    if (name == NULL)
        return;
    g_string_append_printf(text, "%s%s=\"", text->len > 0 ? "," : "", name);
    append_escaped(text, value != NULL ? value : "");
    g_string_append_c(text, '"');
}

/* The lock is held. */
static Series *find_series(Metric *metric, const char *label_1, const char *label_2)
{
    g_autoptr(GString) key = g_string_new(NULL);
    Series *series;

    if (metric->series == NULL) {
        metric->series = string_table_new(g_free, g_free);
        metric->next = metrics;
        metrics = metric;
    }
    append_label(key, metric->labels[0], label_1);
    append_label(key, metric->labels[1], label_2);
    series = g_hash_table_lookup(metric->series, key->str);
    if (series == NULL) {
        series = g_new0(Series, 1);
        g_hash_table_insert(metric->series, g_strdup(key->str), series);
    }
    return series;
}

void metric_add(Metric *metric, double amount, const char *label_1, const char *label_2)
{
    g_mutex_lock(&lock);
    find_series(metric, label_1, label_2)->sum += amount;
    g_mutex_unlock(&lock);
}

void metric_observe(Metric *metric, double seconds, const char *label_1, const char *label_2)
{
    guint bucket = 0;
    Series *series;

    while (bucket < N_BUCKETS && seconds > BUCKETS[bucket])
        bucket++;
    g_mutex_lock(&lock);
    series = find_series(metric, label_1, label_2);
    series->sum += seconds;
    series->count++;
    if (bucket < N_BUCKETS)
        series->buckets[bucket]++;
    g_mutex_unlock(&lock);
}

void metric_observe_since(Metric *metric, gint64 begin_us, const char *label_1, const char *label_2)
{
    metric_observe(metric, (double)(g_get_monotonic_time() - begin_us) / G_USEC_PER_SEC, label_1, label_2);
}

/* ---- text ---- */

/* A number as Prometheus reads it, whatever the locale. */
static void append_number(GString *text, double value)
{
    char digits[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append(text, g_ascii_formatd(digits, sizeof digits, "%.15g", value));
    g_string_append_c(text, '\n');
}

static void format_histogram(GString *text, const char *name, const char *labels, const Series *series)
{
    const char *comma = *labels != '\0' ? "," : "";
    guint64 sum = 0;

    for (guint i = 0; i < N_BUCKETS; i++) {
        char bound[G_ASCII_DTOSTR_BUF_SIZE];

        sum += series->buckets[i];
        g_string_append_printf(text, "%s_bucket{%s%sle=\"%s\"} %" G_GUINT64_FORMAT "\n", name, labels, comma,
                               g_ascii_formatd(bound, sizeof bound, "%g", BUCKETS[i]), sum);
    }
    g_string_append_printf(text, "%s_bucket{%s%sle=\"+Inf\"} %" G_GUINT64_FORMAT "\n", name, labels, comma,
                           series->count);
    g_string_append_printf(text, "%s_count{%s} %" G_GUINT64_FORMAT "\n", name, labels, series->count);
    g_string_append_printf(text, "%s_sum{%s} ", name, labels);
    append_number(text, series->sum);
}

static void format_metric(GString *text, const Metric *metric)
{
    GHashTableIter iter;
    gpointer labels;
    gpointer series;

    metrics_format_header(text, metric->name, metric->kind == METRIC_KIND_COUNTER ? "counter" : "histogram",
                          metric->help);
    g_hash_table_iter_init(&iter, metric->series);
    while (g_hash_table_iter_next(&iter, &labels, &series)) {
        if (metric->kind == METRIC_KIND_HISTOGRAM) {
            format_histogram(text, metric->name, labels, series);
        } else {
            g_string_append_printf(text, "%s{%s} ", metric->name, (const char *)labels);
            append_number(text, ((Series *)series)->sum);
        }
    }
}

void metrics_format(GString *text)
{
    g_mutex_lock(&lock);
    for (const Metric *metric = metrics; metric != NULL; metric = metric->next)
        format_metric(text, metric);
    g_mutex_unlock(&lock);
}

void metrics_format_header(GString *text, const char *name, const char *type, const char *help)
{
    g_string_append_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_format_value(GString *text, const char *name, const char *label, const char *label_value,
                          double value)
{
    g_autoptr(GString) labels = g_string_new(NULL);

    append_label(labels, label, label_value);
    g_string_append_printf(text, "%s{%s} ", name, labels->str);
    append_number(text, value);
}
