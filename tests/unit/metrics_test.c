/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's own metrics. */
#include <string.h>

#include "common/metrics.h"
#include "tests/unit/harness.h"

static char *all(void)
{
    GString *text = g_string_new(NULL);

    metrics_format(text);
    return g_string_free(text, FALSE);
}

static void expect(const char *line)
{
    g_autofree char *text = all();

    if (strstr(text, line) == NULL)
        g_printerr("no \"%s\" in:\n%s", line, text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, line));
}

static void adds(void)
{
    static Metric counter = METRIC_COUNTER("test_things_total", "Things.", "kind", "colour");

    metric_add(&counter, 1, "a", "red");
    metric_add(&counter, 2.5, "a", "red");
    metric_add(&counter, 7, "b", "blue");
    expect("# HELP test_things_total Things.\n# TYPE test_things_total counter\n");
    expect("test_things_total{kind=\"a\",colour=\"red\"} 3.5\n");
    expect("test_things_total{kind=\"b\",colour=\"blue\"} 7\n");
}

static void counts_without_labels(void)
{
    static Metric counter = METRIC_COUNTER("test_plain_total", "Plain.", NULL);

    metric_add(&counter, 3, NULL, NULL);
    expect("test_plain_total{} 3\n");
}

static void sums_buckets(void)
{
    static Metric histogram = METRIC_SECONDS("test_seconds", "Time.", "phase");

    metric_observe(&histogram, 0.005, "x", NULL);
    metric_observe(&histogram, 0.3, "x", NULL);
    metric_observe(&histogram, 1000, "x", NULL);
    expect("test_seconds_bucket{phase=\"x\",le=\"0.005\"} 1\n");
    expect("test_seconds_bucket{phase=\"x\",le=\"0.25\"} 1\n");
    expect("test_seconds_bucket{phase=\"x\",le=\"0.5\"} 2\n");
    expect("test_seconds_bucket{phase=\"x\",le=\"120\"} 2\n");
    expect("test_seconds_bucket{phase=\"x\",le=\"+Inf\"} 3\n");
    expect("test_seconds_count{phase=\"x\"} 3\n");
    expect("test_seconds_sum{phase=\"x\"} 1000.305\n");
}

static void escapes(void)
{
    static Metric counter = METRIC_COUNTER("test_escaped_total", "Escaped.", "text");

    metric_add(&counter, 1, "a\"b\\c\nd", NULL);
    expect("test_escaped_total{text=\"a\\\"b\\\\c\\nd\"} 1\n");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a counter adds up for each combination of its labels", adds},
        {"a counter may have no labels", counts_without_labels},
        {"a bucket of a histogram counts the values up to its limit", sums_buckets},
        {"label values are escaped", escapes},
    };

    return test_main_args("metrics", cases, G_N_ELEMENTS(cases), argc, argv);
}
