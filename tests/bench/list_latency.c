/* How the time of lists grows with the number of pods: list_latency prints, for 10 and for 500 stopped pods
 * with a container each (and for the statistics as many ready ones with a fresh sample), what building and
 * packing an answer takes, and the ratio. 50 is linear; the aim is no more than that.
 *
 * Without a hypervisor and a store: what is measured is ours, and the socket's share is the same for all.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/test_manager.h"

enum { FEW = 10, MANY = 500, ROUNDS = 51 };

typedef gsize (*ListFunc)(SandboxManager *manager, Arena *arena);

static gsize pack(const ProtobufCMessage *message, Arena *arena)
{
    gsize length = protobuf_c_message_get_packed_size(message);

    return protobuf_c_message_pack(message, arena_alloc(arena, MAX(length, 1)));
}

static gsize list_pods(SandboxManager *manager, Arena *arena)
{
    Runtime__V1__ListPodSandboxRequest request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListPodSandboxResponse response = RUNTIME__V1__LIST_POD_SANDBOX_RESPONSE__INIT;

    sandbox_list(manager, &request, arena, &response, NULL);
    return pack(&response.base, arena);
}

static gsize list_containers(SandboxManager *manager, Arena *arena)
{
    Runtime__V1__ListContainersRequest request = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    Runtime__V1__ListContainersResponse response = RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;

    container_list(manager, &request, arena, &response, NULL);
    return pack(&response.base, arena);
}

static gsize list_pod_stats(SandboxManager *manager, Arena *arena)
{
    Runtime__V1__ListPodSandboxStatsResponse response = RUNTIME__V1__LIST_POD_SANDBOX_STATS_RESPONSE__INIT;

    sandbox_stats_list(manager, NULL, NULL, arena, &response, NULL);
    return pack(&response.base, arena);
}

static gsize list_metrics(SandboxManager *manager, Arena *arena)
{
    Runtime__V1__ListPodSandboxMetricsResponse response =
        RUNTIME__V1__LIST_POD_SANDBOX_METRICS_RESPONSE__INIT;

    sandbox_metrics_list(manager, NULL, arena, &response, NULL);
    return pack(&response.base, arena);
}

static gint compare_times(gconstpointer a, gconstpointer b)
{
    gint64 x = *(const gint64 *)a;
    gint64 y = *(const gint64 *)b;

    return (x > y) - (x < y);
}

/* The median, in microseconds. */
static gint64 measure(ListFunc list, SandboxManager *manager, gsize *ret_bytes)
{
    gint64 times[ROUNDS];

    for (guint i = 0; i < ROUNDS; i++) {
        g_autoptr(Arena) arena = arena_new();
        gint64 begin_us = g_get_monotonic_time();

        *ret_bytes = list(manager, arena);
        times[i] = g_get_monotonic_time() - begin_us;
    }
    qsort(times, ROUNDS, sizeof *times, compare_times);
    return times[ROUNDS / 2];
}

static SandboxManager *fill(guint n_pods, gboolean ready)
{
    SandboxManager *manager = test_manager_new();
    gint64 fresh_us = g_get_monotonic_time() + G_GINT64_CONSTANT(3600) * G_USEC_PER_SEC;

    for (guint i = 0; i < n_pods; i++) {
        Pod *pod = test_manager_add_pod(manager, i, ready ? POD_READY : POD_STOPPED,
                                        ready ? CONTAINER_RUNNING_STATE : CONTAINER_EXITED_STATE);

        if (ready)
            test_pod_add_sample(pod, fresh_us, 1000000);
    }
    return manager;
}

int main(void)
{
    static const struct {
        const char *name;
        ListFunc list;
        gboolean ready;
    } lists[] = {{"ListPodSandbox", list_pods, FALSE},
                 {"ListContainers", list_containers, FALSE},
                 {"ListPodSandboxStats, stopped pods", list_pod_stats, FALSE},
                 {"ListPodSandboxStats, ready pods", list_pod_stats, TRUE},
                 {"ListPodSandboxMetrics, ready pods", list_metrics, TRUE}};

    printf("%-36s %8s %8s %10s %6s\n", "", "10 pods", "500 pods", "bytes", "ratio");
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++) {
        SandboxManager *few = fill(FEW, lists[i].ready);
        SandboxManager *many = fill(MANY, lists[i].ready);
        gsize bytes;
        gint64 few_us = measure(lists[i].list, few, &bytes);
        gint64 many_us = measure(lists[i].list, many, &bytes);

        printf("%-36s %5" G_GINT64_FORMAT " us %5" G_GINT64_FORMAT " us %10" G_GSIZE_FORMAT " %6.1f\n",
               lists[i].name, few_us, many_us, bytes, (double)many_us / (double)MAX(few_us, 1));
        test_manager_free(few);
        test_manager_free(many);
    }
    return EXIT_SUCCESS;
}
