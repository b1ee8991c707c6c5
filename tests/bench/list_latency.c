/* SPDX-License-Identifier: Apache-2.0 */
/* Measures how the cost of lists grows with the number of pods. For 10 and for 500 stopped pods with a
 * container each (for statistics: ready ones with a fresh sample) list_latency prints the time for building
 * and packing an answer, then that of a whole call through gRPC and a socket, client included, the part of
 * it that the server takes (a process of its own), and the ratios. A ratio of 50 is linear. With the name of
 * a list as its argument it measures only that.
 *
 * There are no hypervisor and no store. Memory comes from the kernel as it does in the daemon. The figures
 * are medians of processor time, because wall-clock time on a busy node means little; that of calls is
 * printed beside it. Few and many pods take turns.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cri-server/cli/grpc_client.h"
#include "cri-server/daemon.h"
#include "cri-server/process_memory.h"
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

/* A server in a process of its own, so that what its processor time is can be told from the client's. */
typedef struct {
    pid_t pid;
    clockid_t clock; /* the processor time of that process */
    GrpcClient *client;
} Service;

static void serve(SandboxManager *manager, const char *path, int ready_fd)
{
    Daemon daemon = {.sandboxes = manager};
    g_autoptr(GError) error = NULL;
    RpcServerConfig config = {.socket_path = path, .daemon = &daemon};
    RpcServer *server;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rpc_server_prepare_process();
    config.methods = rpc_table(&config.n_methods);
    for (guint i = 0; i < RPC_N_POOLS; i++)
        config.pools[i] = (WorkerPoolSize){4, 16};
    server = rpc_server_open(&config, &error);
    if (server == NULL)
        g_error("%s", error->message);
    rpc_server_start(server);
    if (write(ready_fd, "", 1) != 1)
        g_error("the client has gone");
    for (;;)
        pause();
}

/* Call it before the process uses gRPC. The new process has none of the manager's threads, which lists do not
 * need. */
static void service_start(Service *service, SandboxManager *manager, const char *path)
{
    int pipe_fds[2];
    char byte;

    if (pipe(pipe_fds) != 0)
        g_error("pipe: %m");
    service->pid = fork();
    if (service->pid == 0)
        serve(manager, path, pipe_fds[1]);
    if (read(pipe_fds[0], &byte, 1) != 1 || clock_getcpuclockid(service->pid, &service->clock) != 0)
        g_error("no server at %s", path);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void service_connect(Service *service, const char *path)
{
    g_autoptr(GError) error = NULL;

    service->client = grpc_client_open(path, &error);
    if (service->client == NULL)
        g_error("%s", error->message);
}

static void service_stop(Service *service)
{
    grpc_client_close(service->client);
    kill(service->pid, SIGKILL);
    waitpid(service->pid, NULL, 0);
}

static void service_call(Service *service, const List *list, Arena *arena)
{
    g_autoptr(GError) error = NULL;

    if (grpc_client_call(service->client, &runtime__v1__runtime_service__descriptor, list->name,
                         list->request, NULL, arena, &error) == NULL)
        g_error("%s: %s", list->name, error->message);
}

/* What a server does after its answer belongs to the call, and is over by then. */
static void settle(void)
{
    g_usleep(2000);
}

/* Whole calls. */
static void measure_calls(const List *list, Service services[2])
{
    g_autoptr(Arena) arena = arena_new();
    gint64 times[3][2][ROUNDS];
    gint64 medians[3][2];

    for (guint i = 0; i < 2 * ROUNDS; i++) {
        Service *service = &services[i % 2];
        gint64 begin_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        gint64 begin_server_ns = clock_ns(service->clock);
        gint64 begin_wall_ns = clock_ns(CLOCK_MONOTONIC);
        gint64 server_ns;

        service_call(service, list, arena);
        times[2][i % 2][i / 2] = clock_ns(CLOCK_MONOTONIC) - begin_wall_ns;
        settle();
        server_ns = clock_ns(service->clock) - begin_server_ns;
        times[0][i % 2][i / 2] = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - begin_ns + server_ns;
        times[1][i % 2][i / 2] = server_ns;
        arena_reset(arena, KEEP_BYTES);
    }
    for (guint i = 0; i < 2; i++)
        for (guint k = 0; k < 3; k++)
            medians[k][i] = median(times[k][i]);
    print_row("", "call, processor", medians[0], 0);
    print_row("", "of that, the server's", medians[1], 0);
    print_row("", "call, wall clock", medians[2], 0);
}

/* Forks before the client makes a thread. */
static void measure(const List *list, const char *directory)
{
    SandboxManager *managers[2] = {fill(FEW, list->ready), fill(MANY, list->ready)};
    g_autofree char *paths[2] = {g_build_filename(directory, "few.sock", NULL),
                                 g_build_filename(directory, "many.sock", NULL)};
    Service services[2];

    for (guint i = 0; i < 2; i++)
        service_start(&services[i], managers[i], paths[i]);
    rpc_server_prepare_process();
    measure_answers(list, managers);
    for (guint i = 0; i < 2; i++)
        service_connect(&services[i], paths[i]);
    measure_calls(list, services);
    for (guint i = 0; i < 2; i++) {
        service_stop(&services[i]);
        test_manager_free(managers[i]);
    }
}

int main(int argc, char **argv)
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

    process_memory_prepare();
    printf("%-24s %-22s %10s %12s %9s %6s\n", "", "", "10 pods", "500 pods", "bytes", "ratio");
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++) {
        pid_t pid;

        if (argc > 1 && !g_str_equal(argv[1], lists[i].name))
            continue;
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            measure(&lists[i], directory);
            return EXIT_SUCCESS;
        }
        waitpid(pid, NULL, 0);
    }
    g_spawn_sync(NULL, (char **)(void *)clean, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    return EXIT_SUCCESS;
}
