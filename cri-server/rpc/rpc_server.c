/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc/rpc_server.h"

#include "common/fileio.h"
#include "common/log.h"
#include "common/string_table.h"
#include "cri-server/rpc/server_call.h"

#include <errno.h>
#include <grp.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    MAX_CALLS_PER_CONNECTION = 1024,
    /* A call wakes the thread of the queue by itself; rpc_server_ask_queue() has to wait for it. */
    QUEUE_WAKE_MS = 1000,
    /* Enough for a few clients that list some hundred pods again and again. */
    ARENAS_KEPT = 4,
    ARENA_KEEP_BYTES = 2 * 1024 * 1024,
};

/* Whether a method's path is below that service. */
static gboolean path_names(const char *path, const char *service)
{
    return g_str_has_prefix(path + 1, service) && path[1 + strlen(service)] == '/';
}

/* Return: the path by which clients call the method; the caller frees it. */
static char *method_path(const char *service, const RpcMethod *method)
{
    return g_strdup_printf("/%s/%s", service, method->name);
}

/* ---- the completion-queue thread ---- */

static void on_call_accepted(ServerCall *call, gboolean ok);
static void on_call_closed(ServerCall *call, gboolean ok);
static void on_request_received(ServerCall *call, gboolean ok);

static gint64 deadline_from_grpc(gpr_timespec deadline)
{
    gint64 now_us = g_get_monotonic_time();
    gint64 at_us;
    gint64 margin_us;

    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0)
        return G_MAXINT64;
    deadline = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC); /* GLib's monotonic clock is the same */
    at_us = deadline.tv_sec * G_USEC_PER_SEC + deadline.tv_nsec / 1000;
    /* The deadline is a little before the client's, so that the client gets the server's message, which says
     * what the call was waiting for. */
    margin_us = CLAMP((at_us - now_us) / 50, 0, G_USEC_PER_SEC / 5);
    return at_us - margin_us;
}

static void server_accept(RpcServer *server)
{
    ServerCall *call = server_call_new(server); /* the operation holds the first reference */

    call->accepted = (CallTag){call, on_call_accepted};
    call->closed = (CallTag){call, on_call_closed};
    call->received = (CallTag){call, on_request_received};
    if (grpc_server_request_call(server->grpc, &call->grpc, &call->details, &call->metadata, server->queue,
                                 server->queue, &call->accepted) != GRPC_CALL_OK)
        server_call_unref(call);
}

static void call_watch_close(ServerCall *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

    op.data.recv_close_on_server.cancelled = &call->was_cancelled;
    server_call_start(call, &op, 1, &call->closed);
}

static void call_receive(ServerCall *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    op.data.recv_message.recv_message = &call->request;
    server_call_start(call, &op, 1, &call->received);
}

static void on_call_accepted(ServerCall *call, gboolean ok)
{
    RpcServer *server = call->server;
    g_autofree char *path = NULL;

    if (!ok) /* the server is stopping */
        return;
    g_mutex_lock(&server->lock);
    g_hash_table_add(server->calls, call);
    g_mutex_unlock(&server->lock);
    server_accept(server);

    call->arrived_us = g_get_monotonic_time();
    call->deadline.at_us = deadline_from_grpc(call->details.deadline);
    call_watch_close(call);
    path = g_strndup((const char *)GRPC_SLICE_START_PTR(call->details.method),
                     GRPC_SLICE_LENGTH(call->details.method));
    call->method = g_hash_table_lookup(server->methods, path);
    call->by_alias = call->method != NULL && !path_names(path, call->method->service->name);
    if (call->method == NULL) {
        server_call_refuse(call, STATUS_UNIMPLEMENTED, "unknown method %s", path);
    } else if (call->method->invoke == NULL) {
        server_call_refuse(call, STATUS_UNIMPLEMENTED, "%s is not implemented yet", call->method->name);
    } else {
        call->types = rpc_method_descriptor(call->method);
        call_receive(call);
    }
}

static void on_request_received(ServerCall *call, gboolean ok)
{
    WorkerPool *pool = call->server->pools[call->method->pool];

    if (call->request == NULL) {
        if (!ok || grpc_call_failed_before_recv_message(call->grpc) != 0)
            server_call_refuse(
                call, STATUS_RESOURCE_EXHAUSTED,
                "the request for %s did not arrive, or is larger than the %d bytes that a message may have",
                call->method->name, (int)RPC_MESSAGE_MAX_BYTES);
        else
            server_call_refuse(call, STATUS_INVALID_ARGUMENT, "%s was called without a request message",
                               call->method->name);
        return;
    }
    server_call_ref(call);
    if (!worker_pool_push(pool, call)) {
        server_call_unref(call);
        server_call_refuse(call, STATUS_RESOURCE_EXHAUSTED,
                           "too many calls at once for the %s worker pool; try again",
                           worker_pool_name(pool));
    }
}

static void on_call_closed(ServerCall *call, gboolean ok)
{
    (void)ok;
    if (call->was_cancelled != 0)
        server_call_cancel(call);
}

static void queue_answer(RpcServer *server)
{
    void (*function)(gpointer data);

    g_mutex_lock(&server->lock);
    function = server->asked;
    server->asked = NULL;
    g_mutex_unlock(&server->lock);
    if (function != NULL)
        function(server->asked_data);
}

static gpointer rpc_queue_loop(gpointer data)
{
    RpcServer *server = data;

    for (;;) {
        const gpr_timespec wake =
            gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(QUEUE_WAKE_MS, GPR_TIMESPAN));
        grpc_event event = grpc_completion_queue_next(server->queue, wake, NULL);
        CallTag *tag = event.tag;

        queue_answer(server);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        if (event.type != GRPC_OP_COMPLETE)
            continue;
        if (tag == &server->stopped_tag) {
            g_mutex_lock(&server->lock);
            server->stopped = TRUE;
            g_cond_broadcast(&server->changed);
            g_mutex_unlock(&server->lock);
            continue;
        }
        tag->complete(tag->call, event.success != 0);
        server_call_unref(tag->call);
    }
}

void rpc_server_ask_queue(RpcServer *server, void (*function)(gpointer data), gpointer data)
{
    g_mutex_lock(&server->lock);
    server->asked_data = data;
    server->asked = function;
    g_mutex_unlock(&server->lock);
}

void rpc_server_ask_pool(RpcServer *server, RpcPool pool, void (*function)(gpointer data), gpointer data)
{
    if (pool != RPC_POOL_FAST && worker_pool_is_busy(server->pools[pool]))
        function(data);
    else
        worker_pool_probe(server->pools[pool], function, data);
}

guint rpc_server_calls(RpcServer *server, RpcPool pool)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&server->lock);

    return server->pools[pool] != NULL ? worker_pool_jobs(server->pools[pool]) : 0;
}

/* ---- opening ---- */

static void log_from_grpc(gpr_log_func_args *args)
{
    LogLevel level = args->severity == GPR_LOG_SEVERITY_ERROR ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG;

    log_write(level, LOG_FIELDS("domain", "grpc"), "%s", args->message);
}

void rpc_server_prepare_process(void)
{
    /* The daemon spawns programs and never runs its own code after a fork, so gRPC's fork handlers would only
     * hold locks. */
    g_setenv("GRPC_ENABLE_FORK_SUPPORT", "0", TRUE);
    signal(SIGPIPE, SIG_IGN);
    gpr_set_log_function(log_from_grpc);
}

/* gRPC replaces whatever exists at the path. Only a socket on which no program listens may be replaced. */
static gboolean check_socket_path(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    gboolean answered;
    int fd;

    if (strlen(path) >= sizeof address.sun_path)
        return fail(error, STATUS_INVALID_ARGUMENT, "the socket path %s is longer than %zu bytes", path,
                    sizeof address.sun_path - 1);
    if (lstat(path, &status) != 0)
        return errno == ENOENT || fail_errno(error, errno, "cannot stat the socket %s", path);
    if (!S_ISSOCK(status.st_mode))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "%s exists and is not a socket; remove it or set server.socket to another path", path);
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail_errno(error, errno, "cannot create a socket");
    answered = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    close(fd);
    if (answered)
        return fail(error, STATUS_UNAVAILABLE, "another program listens on %s", path);
    return TRUE;
}

static grpc_server *create_grpc_server(void)
{
    char names[][48] = {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                        GRPC_ARG_MAX_SEND_MESSAGE_LENGTH,
                        GRPC_ARG_MAX_CONCURRENT_STREAMS,
                        GRPC_ARG_ENABLE_CHANNELZ,
                        GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION,
                        GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE,
                        GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET};
    const int values[] = {RPC_MESSAGE_MAX_BYTES,  RPC_MESSAGE_MAX_BYTES, MAX_CALLS_PER_CONNECTION, 0, 0, 0,
                          1 << GRPC_COMPRESS_NONE};
    grpc_arg list[G_N_ELEMENTS(values)] = {0};
    grpc_channel_args args = {G_N_ELEMENTS(list), list};

    G_STATIC_ASSERT(G_N_ELEMENTS(names) == G_N_ELEMENTS(values));
    for (guint i = 0; i < G_N_ELEMENTS(list); i++) {
        list[i].type = GRPC_ARG_INTEGER;
        list[i].key = names[i];
        list[i].value.integer = values[i];
    }
    return grpc_server_create(&args, NULL);
}

static gboolean bind_socket(RpcServer *server, GError **error)
{
    g_autofree char *escaped = g_uri_escape_string(server->socket_path, "/", FALSE);
    g_autofree char *address = g_strconcat("unix:", escaped, NULL);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    mode_t old_mask = umask(0117);
    int bound = grpc_server_add_http2_port(server->grpc, address, credentials);

    umask(old_mask);
    grpc_server_credentials_release(credentials);
    if (bound == 0)
        return fail(error, STATUS_UNAVAILABLE, "cannot listen on %s", server->socket_path);
    return TRUE;
}

static gboolean share_socket(const char *path, const char *group_name, GError **error)
{
    const struct group *group;

    if (group_name == NULL || *group_name == '\0')
        return TRUE;
    group = getgrnam(group_name);
    if (group == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION, "server.socket_group: there is no group \"%s\"",
                    group_name);
    return chown(path, (uid_t)-1, group->gr_gid) == 0 ||
           fail_errno(error, errno, "cannot give the socket %s to the group %s", path, group_name);
}

static GHashTable *index_methods(const RpcMethod *methods, gsize n_methods)
{
    GHashTable *index = string_table_new(g_free, NULL);

    for (gsize i = 0; i < n_methods; i++) {
        const RpcMethod *method = &methods[i];

        g_hash_table_insert(index, method_path(method->service->name, method), (gpointer)method);
        if (method->alias != NULL)
            g_hash_table_insert(index, method_path(method->alias, method), (gpointer)method);
    }
    return index;
}

RpcServer *rpc_server_open(const RpcServerConfig *config, GError **error)
{
    g_autofree char *lock_path = g_strconcat(config->socket_path, ".lock", NULL);
    g_autofree char *directory = g_path_get_dirname(config->socket_path);
    g_autoptr(RpcServer) server = NULL;
    int lock_fd = -1;

    if (!dir_make(directory, 0711, error) || !file_lock(lock_path, &lock_fd, error))
        return NULL;
    server = g_new0(RpcServer, 1);
    server->lock_fd = lock_fd;
    server->daemon = config->daemon;
    server->socket_path = g_strdup(config->socket_path);
    server->methods = index_methods(config->methods, config->n_methods);
    server->calls = g_hash_table_new(NULL, NULL);
    g_mutex_init(&server->lock);
    g_cond_init(&server->changed);
    server->arenas = arena_pool_new(ARENAS_KEPT, ARENA_KEEP_BYTES);
    for (guint i = 0; i < RPC_N_POOLS; i++)
        server->pools[i] = worker_pool_new(rpc_pool_name((RpcPool)i), config->pools[i], server_call_run);
    grpc_init();
    server->queue = grpc_completion_queue_create_for_next(NULL);
    server->grpc = create_grpc_server();
    grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
    if (!check_socket_path(server->socket_path, error) || !bind_socket(server, error) ||
        !share_socket(server->socket_path, config->socket_group, error))
        return NULL;
    return g_steal_pointer(&server);
}

void rpc_server_start(RpcServer *server)
{
    server->started = TRUE;
    grpc_server_start(server->grpc);
    server->thread = g_thread_new("rpc-queue", rpc_queue_loop, server);
    server_accept(server);
}

/* ---- stopping ---- */

static void cancel_calls(RpcServer *server, gboolean only_streams)
{
    g_autoptr(GPtrArray) calls = g_ptr_array_new();
    GHashTableIter iter;
    gpointer key;

    /* Callbacks of a cancellable may take locks of their own, so they run without ours. */
    g_mutex_lock(&server->lock);
    g_hash_table_iter_init(&iter, server->calls);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        ServerCall *call = key;

        if (!only_streams || (call->method != NULL && call->method->is_stream))
            g_ptr_array_add(calls, server_call_ref(call));
    }
    g_mutex_unlock(&server->lock);
    for (guint i = 0; i < calls->len; i++) {
        server_call_cancel(g_ptr_array_index(calls, i));
        server_call_unref(g_ptr_array_index(calls, i));
    }
}

static gboolean server_wait_until_stopped(RpcServer *server, gint64 until_us)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&server->lock);

    while (!server->stopped)
        if (!g_cond_wait_until(&server->changed, &server->lock, until_us))
            return FALSE;
    return TRUE;
}

static void free_pools(RpcServer *server)
{
    for (guint i = 0; i < RPC_N_POOLS; i++) {
        WorkerPool *pool;

        g_mutex_lock(&server->lock);
        pool = g_steal_pointer(&server->pools[i]);
        g_mutex_unlock(&server->lock);
        worker_pool_free(pool);
    }
}

void rpc_server_stop(RpcServer *server, gint64 grace_ms)
{
    cancel_calls(server, TRUE);
    grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->stopped_tag);
    if (!server_wait_until_stopped(server, g_get_monotonic_time() + grace_ms * 1000)) {
        cancel_calls(server, FALSE);
        grpc_server_cancel_all_calls(server->grpc);
        server_wait_until_stopped(server, G_MAXINT64);
    }
    free_pools(server);
    grpc_completion_queue_shutdown(server->queue);
    g_clear_pointer(&server->thread, g_thread_join);
    server->started = FALSE;
}

/* gRPC needs a shutdown and a drained queue also of a server that never started. */
static void stop_unstarted(RpcServer *server)
{
    grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->stopped_tag);
    grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    free_pools(server);
    grpc_completion_queue_shutdown(server->queue);
    while (grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        continue;
}

void rpc_server_free(RpcServer *server)
{
    if (server == NULL)
        return;
    if (!server->stopped)
        stop_unstarted(server);
    grpc_server_destroy(server->grpc);
    grpc_completion_queue_destroy(server->queue);
    grpc_shutdown();
    arena_pool_free(server->arenas);
    g_hash_table_unref(server->methods);
    g_hash_table_unref(server->calls);
    g_mutex_clear(&server->lock);
    g_cond_clear(&server->changed);
    g_free(server->socket_path);
    close(server->lock_fd);
    g_free(server);
}
