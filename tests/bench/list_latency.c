/* SPDX-License-Identifier: Apache-2.0 */
/* Measures how the cost of lists grows with the number of pods. For 10 and for 500 stopped pods with a
 * container each (for statistics: ready ones with a fresh sample) list_latency prints the time for building
 * and packing an answer, then that of a whole call through gRPC and a socket, client included, and the
 * ratios. A ratio of 50 is linear.
 *
 * There are no hypervisor and no store. The figures are medians of processor time, because wall-clock time on
 * a busy node means little; that of calls is printed beside it. Few and many pods take turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cri-server/cli/grpc_client.h"
#include "cri-server/daemon.h"
#include "cri-server/rpc/rpc_server.h"
#include "cri-server/rpc_table.h"
#include "tests/unit/test_manager.h"

enum { FEW = 10, MANY = 500, ROUNDS = 51, KEEP_BYTES = 2 * 1024 * 1024 };

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

/* ---- measuring ---- */

static gint compare_times(gconstpointer a, gconstpointer b)
{
    gint64 x = *(const gint64 *)a;
    gint64 y = *(const gint64 *)b;

    return (x > y) - (x < y);
}

static gint64 median(gint64 times[ROUNDS])
{
    qsort(times, ROUNDS, sizeof *times, compare_times);
    return times[ROUNDS / 2];
}

static gint64 clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (gint64)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void print_row(const char *name, const char *what, const gint64 ns[2], gsize bytes)
{
    printf("%-24s %-22s %7.1f us %9.1f us %9" G_GSIZE_FORMAT " %6.1f\n", name, what, (double)ns[0] / 1e3,
           (double)ns[1] / 1e3, bytes, (double)ns[1] / (double)MAX(ns[0], 1));
}

typedef struct {
    const char *name;
    ListFunc list;
    const ProtobufCMessage *request;
    gboolean ready;
} List;

/* Builds and packs an answer as a worker of the server does. */
static void measure_answers(const List *list, SandboxManager *const managers[2])
{
    g_autoptr(Arena) arena = arena_new();
    gint64 times[2][ROUNDS];
    gint64 medians[2];
    gsize bytes = 0;

    for (guint i = 0; i < 2 * ROUNDS; i++) {
        gint64 begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

        bytes = list->list(managers[i % 2], arena);
        arena_reset(arena, KEEP_BYTES);
        times[i % 2][i / 2] = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
    }
    medians[0] = median(times[0]);
    medians[1] = median(times[1]);
    print_row(list->name, "answer, processor", medians, bytes);
}

typedef struct {
    Daemon daemon;
    RpcServer *server;
    GrpcClient *client;
} Service;

static void service_start(Service *service, SandboxManager *manager, const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autoptr(GError) error = NULL;
    RpcServerConfig config = {.socket_path = path, .daemon = &service->daemon};

    config.methods = rpc_table(&config.n_methods);
    for (guint i = 0; i < RPC_N_POOLS; i++)
        config.pools[i] = (WorkerPoolSize){4, 16};
    service->daemon = (Daemon){.sandboxes = manager};
    service->server = rpc_server_open(&config, &error);
    if (service->server == NULL)
        g_error("%s", error->message);
    rpc_server_start(service->server);
    service->client = grpc_client_open(path, &error);
    if (service->client == NULL)
        g_error("%s", error->message);
}

static void service_stop(Service *service)
{
    grpc_client_close(service->client);
    rpc_server_stop(service->server, 0);
    rpc_server_free(service->server);
}

static void service_call(Service *service, const List *list, Arena *arena)
{
    g_autoptr(GError) error = NULL;

    if (grpc_client_call(service->client, &runtime__v1__runtime_service__descriptor, list->name,
                         list->request, NULL, arena, &error) == NULL)
        g_error("%s: %s", list->name, error->message);
}

/* A whole call. Client and server are in this process; this thread is the client. */
static void measure_calls(const List *list, SandboxManager *const managers[2], const char *directory)
{
    g_autoptr(Arena) arena = arena_new(); /* the client's */
    Service services[2];
    gint64 times[3][2][ROUNDS];
    gint64 processor[2];
    gint64 servers[2];
    gint64 wall[2];

    service_start(&services[0], managers[0], directory, "few.sock");
    service_start(&services[1], managers[1], directory, "many.sock");
    for (guint i = 0; i < 2 * ROUNDS; i++) {
        gint64 begin_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        gint64 begin_client_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        gint64 begin_wall_ns = clock_ns(CLOCK_MONOTONIC);

        service_call(&services[i % 2], list, arena);
        times[0][i % 2][i / 2] = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - begin_ns;
        times[1][i % 2][i / 2] = clock_ns(CLOCK_MONOTONIC) - begin_wall_ns;
        times[2][i % 2][i / 2] =
            times[0][i % 2][i / 2] - (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_client_ns);
        arena_reset(arena, KEEP_BYTES);
    }
    for (guint i = 0; i < 2; i++) {
        processor[i] = median(times[0][i]);
        wall[i] = median(times[1][i]);
        servers[i] = median(times[2][i]);
        service_stop(&services[i]);
    }
    print_row("", "call, processor", processor, 0);
    print_row("", "of that, the server's", servers, 0);
    print_row("", "call, wall clock", wall, 0);
}

int main(void)
{
    static const Runtime__V1__ListPodSandboxRequest pods = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    static const Runtime__V1__ListContainersRequest containers = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    static const Runtime__V1__ListPodSandboxStatsRequest stats =
        RUNTIME__V1__LIST_POD_SANDBOX_STATS_REQUEST__INIT;
    static const Runtime__V1__ListPodSandboxMetricsRequest metrics =
        RUNTIME__V1__LIST_POD_SANDBOX_METRICS_REQUEST__INIT;
    static const List lists[] = {{"ListPodSandbox", list_pods, &pods.base, FALSE},
                                 {"ListContainers", list_containers, &containers.base, FALSE},
                                 {"ListPodSandboxStats", list_pod_stats, &stats.base, TRUE},
                                 {"ListPodSandboxMetrics", list_metrics, &metrics.base, TRUE}};
    g_autofree char *directory = g_dir_make_tmp("list-latency-XXXXXX", NULL);
    const char *clean[] = {"rm", "-rf", directory, NULL};

    rpc_server_prepare_process();
    printf("%-24s %-22s %10s %12s %9s %6s\n", "", "", "10 pods", "500 pods", "bytes", "ratio");
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++) {
        SandboxManager *managers[2] = {fill(FEW, lists[i].ready), fill(MANY, lists[i].ready)};

        measure_answers(&lists[i], managers);
        measure_calls(&lists[i], managers, directory);
        test_manager_free(managers[0]);
        test_manager_free(managers[1]);
    }
    g_spawn_sync(NULL, (char **)(void *)clean, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    return EXIT_SUCCESS;
}
