/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics and metrics from samples. */

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/host/process_cost.h"
#include "sandbox/observe/stats.h"
#include "sandbox/sandbox.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_manager.h"

/* Far enough ahead that no sample grows old while the test runs. */
static gint64 later_us(void)
{
    return g_get_monotonic_time() + G_GINT64_CONSTANT(3600) * G_USEC_PER_SEC;
}

static void shows_containers(void)
{
    SandboxManager *manager = test_manager_new();
    Pod *pod = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_RUNNING_STATE);
    Runtime__V1__ListContainerStatsResponse list = RUNTIME__V1__LIST_CONTAINER_STATS_RESPONSE__INIT;
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    const Runtime__V1__ContainerStats *stats;
    gint64 at_us = later_us();

    test_manager_add_pod(manager, 2, POD_STOPPED, CONTAINER_EXITED_STATE);
    test_pod_add_sample(pod, at_us, 1000000);
    test_pod_add_sample(pod, at_us + 2 * G_USEC_PER_SEC, 2000000);
    TEST_OK(container_stats_list(manager, NULL, NULL, arena, &list, &error), error);
    CU_ASSERT_EQUAL_FATAL(list.n_stats, 2);
    stats = list.stats[list.stats[0]->cpu != NULL ? 0 : 1];
    CU_ASSERT_STRING_EQUAL(stats->attributes->metadata->name, "ctr");
    CU_ASSERT_EQUAL(stats->cpu->usage_core_nano_seconds->value, 2000000000);
    CU_ASSERT_EQUAL(stats->cpu->usage_nano_cores->value, 500000000); /* half a core */
    CU_ASSERT_EQUAL(stats->memory->working_set_bytes->value, 7 << 20);
    CU_ASSERT_EQUAL(stats->memory->available_bytes->value, 57 << 20);
    CU_ASSERT_EQUAL(stats->memory->rss_bytes->value, 5 << 20);
    CU_ASSERT_EQUAL(stats->writable_layer->used_bytes->value, 4096);
    CU_ASSERT_EQUAL(stats->cpu->timestamp - stats->writable_layer->timestamp, 1000000000);
    stats = list.stats[list.stats[0]->cpu != NULL ? 1 : 0];
    CU_ASSERT_PTR_NULL(stats->cpu); /* it has exited */
    CU_ASSERT_PTR_NULL(stats->memory);
    test_manager_free(manager);
}

static void shows_pods(void)
{
    SandboxManager *manager = test_manager_new();
    Pod *pod = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_RUNNING_STATE);
    Runtime__V1__ListPodSandboxStatsResponse list = RUNTIME__V1__LIST_POD_SANDBOX_STATS_RESPONSE__INIT;
    Runtime__V1__PodSandboxStatsFilter filter = RUNTIME__V1__POD_SANDBOX_STATS_FILTER__INIT;
    const Runtime__V1__LinuxPodSandboxStats *stats;
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;

    test_manager_add_pod(manager, 2, POD_STOPPED, CONTAINER_EXITED_STATE);
    test_pod_add_sample(pod, later_us(), 1000000);
    TEST_OK(sandbox_stats_list(manager, &filter, NULL, arena, &list, &error), error);
    CU_ASSERT_EQUAL_FATAL(list.n_stats, 1);
    stats = list.stats[0]->linux;
    CU_ASSERT_EQUAL(stats->cpu->usage_core_nano_seconds->value, 2000000000);
    CU_ASSERT_PTR_NULL(stats->cpu->usage_nano_cores); /* one sample */
    CU_ASSERT_EQUAL(stats->memory->working_set_bytes->value, 100 << 20);
    CU_ASSERT_EQUAL(stats->network->default_interface->rx_bytes->value, 77);
    CU_ASSERT_EQUAL(stats->process->process_count->value, 2);
    CU_ASSERT_EQUAL(stats->n_containers, 1);
    list = (Runtime__V1__ListPodSandboxStatsResponse)RUNTIME__V1__LIST_POD_SANDBOX_STATS_RESPONSE__INIT;
    filter.id = (char *)"f";
    TEST_OK(sandbox_stats_list(manager, &filter, NULL, arena, &list, &error), error);
    CU_ASSERT_EQUAL(list.n_stats, 0);
    test_manager_free(manager);
}

static void does_without_a_guest(void)
{
    SandboxManager *manager = test_manager_new();
    Runtime__V1__ListPodSandboxStatsResponse list = RUNTIME__V1__LIST_POD_SANDBOX_STATS_RESPONSE__INIT;
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;

    test_manager_add_pod(manager, 1, POD_READY, CONTAINER_RUNNING_STATE); /* without an agent connection */
    TEST_OK(sandbox_stats_list(manager, NULL, NULL, arena, &list, &error), error);
    CU_ASSERT_EQUAL_FATAL(list.n_stats, 1);
    CU_ASSERT_PTR_NULL(list.stats[0]->linux->cpu);
    test_manager_free(manager);
}

static const Runtime__V1__MetricDescriptor *
find_descriptor(const Runtime__V1__ListMetricDescriptorsResponse *descriptors, const char *name)
{
    for (size_t i = 0; i < descriptors->n_descriptors; i++)
        if (g_str_equal(descriptors->descriptors[i]->name, name))
            return descriptors->descriptors[i];
    return NULL;
}

/* Checks that each metric has as many labels as its descriptor, the first of which are these. */
static void check_metrics(const Runtime__V1__ListMetricDescriptorsResponse *descriptors,
                          Runtime__V1__Metric *const *metrics, size_t n, const char *const labels[6])
{
    CU_ASSERT_TRUE(n > 0);
    for (size_t i = 0; i < n; i++) {
        const Runtime__V1__MetricDescriptor *descriptor = find_descriptor(descriptors, metrics[i]->name);

        CU_ASSERT_PTR_NOT_NULL_FATAL(descriptor);
        CU_ASSERT_EQUAL_FATAL(descriptor->n_label_keys, metrics[i]->n_label_values);
        for (size_t k = 0; k < 6; k++)
            CU_ASSERT_STRING_EQUAL(metrics[i]->label_values[k], labels[k]);
        CU_ASSERT_PTR_NOT_NULL(metrics[i]->value);
        CU_ASSERT_EQUAL(metrics[i]->timestamp, metrics[0]->timestamp);
    }
}

static const Runtime__V1__Metric *find_metric(const Runtime__V1__ContainerMetrics *metrics, const char *name,
                                              const char *last_label)
{
    for (size_t i = 0; i < metrics->n_metrics; i++) {
        const Runtime__V1__Metric *metric = metrics->metrics[i];

        if (g_str_equal(metric->name, name) &&
            g_str_equal(metric->label_values[metric->n_label_values - 1], last_label))
            return metric;
    }
    return NULL;
}

/* Return: the answer as a client reads it. */
static Runtime__V1__ListPodSandboxMetricsResponse *
as_sent(const Runtime__V1__ListPodSandboxMetricsResponse *list, Arena *arena)
{
    const gsize length = protobuf_c_message_get_packed_size(&list->base);
    guint8 *data = arena_alloc(arena, length);

    CU_ASSERT_EQUAL(protobuf_c_message_pack(&list->base, data), length);
    return runtime__v1__list_pod_sandbox_metrics_response__unpack(arena_allocator(arena), length, data);
}

static void describes_its_metrics(void)
{
    SandboxManager *manager = test_manager_new();
    Pod *pod = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_RUNNING_STATE);
    Runtime__V1__ListMetricDescriptorsResponse descriptors =
        RUNTIME__V1__LIST_METRIC_DESCRIPTORS_RESPONSE__INIT;
    Runtime__V1__ListPodSandboxMetricsResponse list = RUNTIME__V1__LIST_POD_SANDBOX_METRICS_RESPONSE__INIT;
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GPtrArray) containers = pod_containers(pod);
    const Container *container = containers->pdata[0];
    g_autofree char *pod_path = g_strdup_printf("/crivirt/%s", pod->id);
    g_autofree char *container_path = g_strdup_printf("/crivirt/%s", container->id);
    const Runtime__V1__PodSandboxMetadata *metadata = pod->config->metadata;
    const char *const of_pod[6] = {"", pod_path, "", pod->id, metadata->namespace_, metadata->name};
    const char *const of_container[6] = {container->config->metadata->name,
                                         container_path,
                                         container->config->image->image,
                                         container->id,
                                         metadata->namespace_,
                                         metadata->name};
    const Runtime__V1__ListPodSandboxMetricsResponse *sent;
    const Runtime__V1__ContainerMetrics *metrics;
    const Runtime__V1__Metric *metric;
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;

    test_pod_add_sample(pod, later_us(), 1000000);
    sandbox_metric_descriptors(arena, &descriptors);
    for (size_t i = 0; i < descriptors.n_descriptors; i++)
        CU_ASSERT_TRUE(g_hash_table_add(names, descriptors.descriptors[i]->name));
    TEST_OK(sandbox_metrics_list(manager, NULL, arena, &list, &error), error);
    sent = as_sent(&list, arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(sent);
    CU_ASSERT_EQUAL_FATAL(sent->n_pod_metrics, 1);
    CU_ASSERT_STRING_EQUAL(sent->pod_metrics[0]->pod_sandbox_id, pod->id);
    check_metrics(&descriptors, sent->pod_metrics[0]->metrics, sent->pod_metrics[0]->n_metrics, of_pod);
    CU_ASSERT_EQUAL_FATAL(sent->pod_metrics[0]->n_container_metrics, 1);
    metrics = sent->pod_metrics[0]->container_metrics[0];
    CU_ASSERT_STRING_EQUAL(metrics->container_id, container->id);
    check_metrics(&descriptors, metrics->metrics, metrics->n_metrics, of_container);
    metric = find_metric(metrics, "container_cpu_usage_seconds_total", "total");
    CU_ASSERT_PTR_NOT_NULL_FATAL(metric);
    CU_ASSERT_EQUAL(metric->metric_type, RUNTIME__V1__METRIC_TYPE__COUNTER);
    CU_ASSERT_EQUAL(metric->value->value, 1);
    metric = find_metric(metrics, "container_fs_inodes_total", "rootfs");
    CU_ASSERT_PTR_NOT_NULL_FATAL(metric);
    CU_ASSERT_EQUAL(metric->metric_type, RUNTIME__V1__METRIC_TYPE__GAUGE);
    CU_ASSERT_EQUAL(metric->value->value, 65536);
    CU_ASSERT_PTR_NOT_NULL(find_metric(metrics, "container_blkio_device_usage_total", "Read"));
    CU_ASSERT_PTR_NOT_NULL(find_metric(metrics, "container_blkio_device_usage_total", "Write"));
    CU_ASSERT_PTR_NOT_NULL(find_metric(metrics, "container_memory_failures_total", "container"));
    test_manager_free(manager);
}

/* More than a block of memory for answers has room for (metric_writer.c). */
enum { MANY_PODS = 40 };

/* Whether all of them have this id among their labels. */
static gboolean are_of(const char *id, Runtime__V1__Metric *const *metrics, size_t n)
{
    gboolean good = n > 0;

    for (size_t i = 0; i < n; i++)
        good = good && g_str_equal(metrics[i]->label_values[3], id);
    return good;
}

static void lists_metrics_of_many_pods(void)
{
    SandboxManager *manager = test_manager_new();
    Runtime__V1__ListPodSandboxMetricsResponse list = RUNTIME__V1__LIST_POD_SANDBOX_METRICS_RESPONSE__INIT;
    g_autoptr(GHashTable) seconds = g_hash_table_new(g_str_hash, g_str_equal); /* of ids of pods */
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    const Runtime__V1__ListPodSandboxMetricsResponse *sent;

    /* Every other one is not ready. Values of many lengths. */
    for (guint i = 0; i < 2 * MANY_PODS; i++) {
        Pod *pod =
            test_manager_add_pod(manager, i, i % 2 == 0 ? POD_READY : POD_STOPPED, CONTAINER_RUNNING_STATE);

        test_pod_add_sample(pod, later_us(), (guint64)G_USEC_PER_SEC << (i / 2));
        if (i % 2 == 0)
            g_hash_table_insert(seconds, pod->id, GUINT_TO_POINTER(i / 2));
    }
    TEST_OK(sandbox_metrics_list(manager, NULL, arena, &list, &error), error);
    CU_ASSERT_TRUE(list.base.n_unknown_fields > 3); /* blocks */
    sent = as_sent(&list, arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(sent);
    CU_ASSERT_EQUAL_FATAL(sent->n_pod_metrics, MANY_PODS);
    for (gsize i = 0; i < sent->n_pod_metrics; i++) {
        const Runtime__V1__PodSandboxMetrics *pod = sent->pod_metrics[i];
        const Runtime__V1__ContainerMetrics *container = pod->container_metrics[0];
        gpointer shift = NULL;

        CU_ASSERT_TRUE(g_hash_table_steal_extended(seconds, pod->pod_sandbox_id, NULL, &shift));
        CU_ASSERT_EQUAL(pod->n_container_metrics, 1);
        CU_ASSERT_TRUE(are_of(pod->pod_sandbox_id, pod->metrics, pod->n_metrics));
        CU_ASSERT_TRUE(are_of(container->container_id, container->metrics, container->n_metrics));
        CU_ASSERT_EQUAL(find_metric(container, "container_cpu_usage_seconds_total", "total")->value->value,
                        G_GUINT64_CONSTANT(1) << GPOINTER_TO_UINT(shift));
    }
    /* protobuf-c needs as many bytes for the same content. */
    CU_ASSERT_EQUAL(sent->base.n_unknown_fields, 0);
    CU_ASSERT_EQUAL(protobuf_c_message_get_packed_size(&sent->base),
                    protobuf_c_message_get_packed_size(&list.base));
    test_manager_free(manager);
}

static void keeps_a_span(void)
{
    SandboxManager *manager = test_manager_new();
    Pod *pod = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_RUNNING_STATE);

    /* Asked every 300 ms: the older one of the pair stays until the span is a second. */
    for (guint i = 0; i < 10; i++) {
        gint64 span_us;

        test_pod_add_sample(pod, (gint64)i * 300 * 1000, i);
        if (i < 4)
            continue;
        span_us = pod->samples.last->at_us - pod->samples.before->at_us;
        CU_ASSERT_TRUE(span_us >= 300 * 1000 && span_us <= 1300 * 1000);
    }
    test_manager_free(manager);
}

static void computes_rates(void)
{
    Sample before = {.at_us = 1000000};
    Sample last = {.at_us = 3000000};
    Sample near = {.at_us = 1000010};
    SamplePair pair = {&last, &before};
    SamplePair too_near = {&near, &before};
    SamplePair alone = {&last, NULL};
    guint64 rate = 7;

    CU_ASSERT_TRUE(sample_rate(&pair, 100, 300, &rate));
    CU_ASSERT_EQUAL(rate, 100);
    CU_ASSERT_FALSE(sample_rate(&pair, 300, 100, &rate)); /* the counter restarted */
    CU_ASSERT_FALSE(sample_rate(&too_near, 100, 300, &rate));
    CU_ASSERT_FALSE(sample_rate(&alone, 0, 300, &rate));
    CU_ASSERT_EQUAL(rate, 100);
    CU_ASSERT_EQUAL(stats_working_set(10, 3), 7);
    CU_ASSERT_EQUAL(stats_working_set(3, 10), 0);
}

static void reads_process_costs(void)
{
    ProcessCost cost = {0};

    CU_ASSERT_TRUE(
        process_cost_parse("12 (qemu) x) 3) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0", "900 100 5 1 0 2 0", &cost));
    CU_ASSERT_EQUAL(cost.cpu_ns, 200 * G_GUINT64_CONSTANT(1000000000) / (guint64)sysconf(_SC_CLK_TCK));
    CU_ASSERT_EQUAL(cost.memory_bytes, 100 * (guint64)sysconf(_SC_PAGESIZE));
    CU_ASSERT_EQUAL(cost.own_bytes, 95 * (guint64)sysconf(_SC_PAGESIZE));
    CU_ASSERT_FALSE(process_cost_parse("", "1 2 3", &cost));
    CU_ASSERT_FALSE(process_cost_parse("12 (x) S 1", "1 2 3", &cost));
    CU_ASSERT_TRUE(process_cost_read(getpid(), &cost));
    CU_ASSERT_FALSE(process_cost_read(0x7ffffff0, &cost));
}

static void reads_process_trees(void)
{
    ProcessCost alone;
    ProcessCost together;
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    CU_ASSERT_TRUE(process_cost_read(getpid(), &alone));
    CU_ASSERT_TRUE(process_cost_read_tree(getpid(), &together));
    CU_ASSERT_TRUE(together.memory_bytes > alone.memory_bytes);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CU_ASSERT_FALSE(process_cost_read_tree(0x7ffffff0, &together));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a running container has figures, an exited one is listed without", shows_containers},
        {"a pod shows what its VM costs the node, and a stopped pod is not listed", shows_pods},
        {"a pod whose guest does not answer is listed without figures, after a short wait",
         does_without_a_guest},
        {"every metric has a descriptor with as many labels, and is sent with its labels, type and value",
         describes_its_metrics},
        {"the metrics of many pods are each pod's own, and as long as protobuf-c makes them",
         lists_metrics_of_many_pods},
        {"rates are taken over a second where there is one", keeps_a_span},
        {"rates need two samples and a counter that grows", computes_rates},
        {"the processor time and memory of a process are read whatever its name is", reads_process_costs},
        {"the figures of a process include its children", reads_process_trees},
    };

    return test_main_args("stats", cases, G_N_ELEMENTS(cases), argc, argv);
}
