#include "cri-server/rpc_server.h"

#include "common/arena_pool.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/metrics.h"
#include "cri-server/message_text.h"
#include "cri-server/status_text.h"

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    STREAM_QUEUE_MAX_BYTES = 1024 * 1024,
    STREAM_MESSAGE_COST_BYTES = 256, /* what a queued message takes beside its own bytes */
    MAX_CALLS_PER_CONNECTION = 1024,
    /* For a list of a few hundred pods at a time, again and again. */
    ARENAS_KEPT = 4,
    ARENA_KEEP_BYTES = 2 * 1024 * 1024,
};

typedef struct Call Call;

/* What the completion queue gives back for an operation: one for each kind, so that several may be under way
 * at once. Each that is under way holds a reference to its call. */
typedef struct {
    Call *call;
    void (*complete)(Call *call, gboolean ok);
} CallTag;

struct RpcStream {
    Call *call;
    GMutex lock;
    GCond changed;
    GQueue waiting; /* grpc_byte_buffer */
    gsize waiting_bytes;
    gboolean headers_sent;
    gboolean sending;  /* the `sent` operation is under way */
    gboolean broken;   /* nobody listens any more */
    gboolean finished; /* the handler has returned; status and message hold how */
    StatusCode status;
    char *message;
};

struct Call {
    gatomicrefcount references;
    RpcServer *server;
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    const RpcMethod *method;
    const ProtobufCMethodDescriptor *types;
    grpc_byte_buffer *request;
    Arena *arena; /* the worker's; NULL without one */
    GCancellable *cancellable;
    Deadline deadline;
    gint64 arrived_us;
    int was_cancelled;
    CallTag accepted, closed, received, sent, answered;
    RpcStream stream;
};

struct RpcServer {
    const Daemon *daemon;
    char *socket_path;
    int lock_fd;
    GHashTable *methods; /* path → const RpcMethod; keys owned */
    Lane *lanes[RPC_N_LANES];
    ArenaPool *arenas;
    grpc_server *grpc;
    grpc_completion_queue *queue;
    GThread *thread;
    CallTag stopped_tag;
    GMutex lock;
    GCond changed;
    gboolean started;
    gboolean stopping;
    gboolean stopped;
    GHashTable *calls; /* Call, those that were accepted and are not freed yet */
};

/* ---- the life of a call ---- */

static void on_call_accepted(Call *call, gboolean ok);
static void on_call_closed(Call *call, gboolean ok);
static void on_request_received(Call *call, gboolean ok);
static void on_message_sent(Call *call, gboolean ok);
static void on_call_answered(Call *call, gboolean ok);

static Call *call_new(RpcServer *server)
{
    Call *call = g_new0(Call, 1);

    g_atomic_ref_count_init(&call->references);
    call->server = server;
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    call->cancellable = g_cancellable_new();
    call->deadline = (Deadline){G_MAXINT64, call->cancellable};
    call->accepted = (CallTag){call, on_call_accepted};
    call->closed = (CallTag){call, on_call_closed};
    call->received = (CallTag){call, on_request_received};
    call->sent = (CallTag){call, on_message_sent};
    call->answered = (CallTag){call, on_call_answered};
    call->stream.call = call;
    g_mutex_init(&call->stream.lock);
    g_cond_init(&call->stream.changed);
    g_queue_init(&call->stream.waiting);
    return call;
}

static Call *call_ref(Call *call)
{
    g_atomic_ref_count_inc(&call->references);
    return call;
}

static void free_buffer(gpointer buffer)
{
    grpc_byte_buffer_destroy(buffer);
}

static void call_unref(Call *call)
{
    RpcServer *server = call->server;
    gboolean last;

    /* Under the lock, so that cancel_calls() never finds a call that is being freed. */
    g_mutex_lock(&server->lock);
    last = g_atomic_ref_count_dec(&call->references);
    if (last)
        g_hash_table_remove(server->calls, call);
    g_mutex_unlock(&server->lock);
    if (!last)
        return;
    g_queue_clear_full(&call->stream.waiting, free_buffer);
    g_mutex_clear(&call->stream.lock);
    g_cond_clear(&call->stream.changed);
    g_free(call->stream.message);
    g_clear_pointer(&call->request, grpc_byte_buffer_destroy);
    g_clear_pointer(&call->grpc, grpc_call_unref);
    grpc_call_details_destroy(&call->details);
    grpc_metadata_array_destroy(&call->metadata);
    g_object_unref(call->cancellable);
    g_free(call);
}

/* Starts operations; their completion comes back as tag->complete() on the queue's thread. */
static void call_start(Call *call, const grpc_op *ops, gsize n_ops, CallTag *tag)
{
    grpc_call_error result;

    call_ref(call);
    result = grpc_call_start_batch(call->grpc, ops, n_ops, tag, NULL);
    if (result == GRPC_CALL_OK)
        return;
    log_error(LOG_NO_FIELDS, "gRPC refused an operation: %s", grpc_call_error_to_string(result));
    grpc_call_cancel(call->grpc, NULL);
    call_unref(call);
}

static grpc_byte_buffer *pack_message(const ProtobufCMessage *message)
{
    gsize size = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(size);
    grpc_byte_buffer *buffer;

    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

/* Ends the call: what has not been sent of headers, message and status goes in one batch. */
static void call_answer(Call *call, gboolean with_headers, grpc_byte_buffer *message, StatusCode status,
                        const char *text)
{
    grpc_slice details = grpc_slice_from_copied_string(text != NULL ? text : "");
    grpc_op ops[3] = {0};
    gsize n_ops = 0;

    if (with_headers)
        ops[n_ops++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (message != NULL) {
        ops[n_ops].op = GRPC_OP_SEND_MESSAGE;
        ops[n_ops++].data.send_message.send_message = message;
    }
    ops[n_ops].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[n_ops].data.send_status_from_server.status = (grpc_status_code)status;
    ops[n_ops++].data.send_status_from_server.status_details = &details;
    call_start(call, ops, n_ops, &call->answered);
    grpc_slice_unref(details);
}

static void on_call_answered(Call *call, gboolean ok)
{
    (void)call;
    (void)ok; /* a client that is gone needs no answer */
}

/* ---- streams ---- */

/* With the stream's lock held: puts the next message, or the end, on its way. */
static void stream_advance(RpcStream *stream)
{
    grpc_op ops[2] = {0};
    gsize n_ops = 0;
    grpc_byte_buffer *message;

    if (stream->sending)
        return;
    message = g_queue_pop_head(&stream->waiting);
    if (message == NULL) {
        if (stream->finished) {
            stream->sending = TRUE;
            call_answer(stream->call, !stream->headers_sent, NULL, stream->status, stream->message);
        }
        return;
    }
    stream->waiting_bytes -= grpc_byte_buffer_length(message) + STREAM_MESSAGE_COST_BYTES;
    if (!stream->headers_sent)
        ops[n_ops++].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[n_ops].op = GRPC_OP_SEND_MESSAGE;
    ops[n_ops++].data.send_message.send_message = message;
    stream->headers_sent = TRUE;
    stream->sending = TRUE;
    call_start(stream->call, ops, n_ops, &stream->call->sent);
    grpc_byte_buffer_destroy(message);
}

static void on_message_sent(Call *call, gboolean ok)
{
    RpcStream *stream = &call->stream;

    g_mutex_lock(&stream->lock);
    stream->sending = FALSE;
    if (!ok) {
        stream->broken = TRUE;
        g_queue_clear_full(&stream->waiting, free_buffer);
        stream->waiting_bytes = 0;
    }
    stream_advance(stream);
    g_cond_broadcast(&stream->changed);
    g_mutex_unlock(&stream->lock);
}

static void stream_break(RpcStream *stream)
{
    g_mutex_lock(&stream->lock);
    stream->broken = TRUE;
    g_cond_broadcast(&stream->changed);
    g_mutex_unlock(&stream->lock);
}

/* Until that many bytes may wait. The lock is held. */
static gboolean stream_wait_for_room(RpcStream *stream, gsize bytes, GError **error)
{
    const Deadline patience = deadline_sooner(&stream->call->deadline, RPC_STREAM_PATIENCE_MS);

    while (!stream->broken && stream->waiting_bytes > 0 &&
           stream->waiting_bytes + bytes > STREAM_QUEUE_MAX_BYTES)
        if (!g_cond_wait_until(&stream->changed, &stream->lock, patience.at_us)) {
            if (patience.at_us < stream->call->deadline.at_us)
                return fail(error, STATUS_RESOURCE_EXHAUSTED, "the client has not read for %d s",
                            RPC_STREAM_PATIENCE_MS / 1000);
            return fail(error, STATUS_DEADLINE_EXCEEDED, "deadline exceeded while sending to the client");
        }
    return !stream->broken || fail(error, STATUS_CANCELLED, "the client has gone away");
}

gboolean rpc_stream_send(RpcStream *stream, ProtobufCMessage *message, GError **error)
{
    grpc_byte_buffer *buffer;
    gboolean queued;
    gsize bytes;

    message_text_repair(message, stream->call->arena);
    buffer = pack_message(message);
    bytes = grpc_byte_buffer_length(buffer) + STREAM_MESSAGE_COST_BYTES;
    g_mutex_lock(&stream->lock);
    queued = stream_wait_for_room(stream, bytes, error);
    if (queued) {
        g_queue_push_tail(&stream->waiting, buffer);
        stream->waiting_bytes += bytes;
        stream_advance(stream);
    }
    g_mutex_unlock(&stream->lock);
    if (!queued)
        grpc_byte_buffer_destroy(buffer);
    return queued;
}

gboolean rpc_stream_is_idle(RpcStream *stream)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&stream->lock);

    return !stream->sending && g_queue_is_empty(&stream->waiting);
}

static void stream_finish(RpcStream *stream, StatusCode status, const char *message)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&stream->lock);

    stream->finished = TRUE;
    stream->status = status;
    stream->message = g_strdup(message);
    stream_advance(stream);
}

/* ---- answering ---- */

/* Failures that say something about this node, rather than about the request, belong in its log. */
static gboolean status_is_ours(StatusCode status)
{
    return status == STATUS_INTERNAL || status == STATUS_UNKNOWN || status == STATUS_DATA_LOSS ||
           status == STATUS_UNAVAILABLE || status == STATUS_RESOURCE_EXHAUSTED ||
           status == STATUS_DEADLINE_EXCEEDED;
}

static Metric rpc_seconds =
    METRIC_SECONDS("crivirt_rpc_duration_seconds", "Time from a call's arrival to its answer.", "method");
static Metric rpc_failures =
    METRIC_COUNTER("crivirt_rpc_failures_total", "Calls answered with an error.", "method", "code");

/* How long a stream lasts is up to the client. */
static void call_count(const Call *call, StatusCode status, gboolean failed)
{
    if (call->method == NULL)
        return;
    if (!call->method->is_stream)
        metric_observe_since(&rpc_seconds, call->arrived_us, call->method->name, NULL);
    if (failed)
        metric_add(&rpc_failures, 1, call->method->name, status_name(status));
}

static void call_log(const Call *call, StatusCode status, const char *message)
{
    g_autofree char *ms =
        g_strdup_printf("%" G_GINT64_FORMAT, (g_get_monotonic_time() - call->arrived_us) / 1000);
    const char *name = call->method != NULL ? call->method->name : NULL;

    call_count(call, status, message != NULL);
    if (message == NULL)
        log_debug(LOG_FIELDS("rpc", name, "ms", ms), "answered");
    else
        log_write(status_is_ours(status) ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
                  LOG_FIELDS("rpc", name, "status", status_name(status), "ms", ms), "%s", message);
}

/* Takes the error. */
static void call_fail(Call *call, GError *error)
{
    StatusCode status = error_status(error);
    g_autofree char *message = status_text(error->message);

    call_log(call, status, message);
    if (call->method != NULL && call->method->is_stream)
        stream_finish(&call->stream, status, message);
    else
        call_answer(call, TRUE, NULL, status, message);
    g_error_free(error);
}

static gboolean call_succeed(Call *call, ProtobufCMessage *response, GError **error)
{
    grpc_byte_buffer *buffer;
    gsize size;

    if (call->method->is_stream) {
        call_log(call, STATUS_UNKNOWN, NULL);
        stream_finish(&call->stream, (StatusCode)GRPC_STATUS_OK, NULL);
        return TRUE;
    }
    message_text_repair(response, call->arena);
    size = protobuf_c_message_get_packed_size(response);
    if (size > RPC_MESSAGE_MAX_BYTES)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the answer to %s is %" G_GSIZE_FORMAT " bytes, more than the %d that a message may have",
                    call->method->name, size, (int)RPC_MESSAGE_MAX_BYTES);
    call_log(call, STATUS_UNKNOWN, NULL);
    buffer = pack_message(response);
    call_answer(call, TRUE, buffer, (StatusCode)GRPC_STATUS_OK, NULL);
    grpc_byte_buffer_destroy(buffer);
    return TRUE;
}

static const ProtobufCMessage *call_decode(Call *call, GError **error)
{
    grpc_byte_buffer_reader reader;
    const ProtobufCMessage *request;
    grpc_slice slice;

    if (!grpc_byte_buffer_reader_init(&reader, call->request)) {
        fail(error, STATUS_INVALID_ARGUMENT, "the request cannot be read");
        return NULL;
    }
    slice = grpc_byte_buffer_reader_readall(&reader);
    request = rpc_decode(call->types->input, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice),
                         call->arena, error);
    grpc_slice_unref(slice);
    grpc_byte_buffer_reader_destroy(&reader);
    g_clear_pointer(&call->request, grpc_byte_buffer_destroy);
    return request;
}

static gboolean call_handle(Call *call, GError **error)
{
    const ProtobufCMessageDescriptor *type = call->types->output;
    RpcCall handled = {.daemon = call->server->daemon,
                       .arena = call->arena,
                       .deadline = &call->deadline,
                       .stream = call->method->is_stream ? &call->stream : NULL};
    ProtobufCMessage *response = NULL;
    const ProtobufCMessage *request;

    if (!deadline_check(&call->deadline, "waiting for a worker", error))
        return FALSE;
    request = call_decode(call, error);
    if (request == NULL)
        return FALSE;
    if (!call->method->is_stream) {
        response = arena_alloc(call->arena, type->sizeof_message);
        protobuf_c_message_init(type, response);
    }
    return call->method->invoke(&handled, request, response, error) && call_succeed(call, response, error);
}

/* On a worker of the call's lane, which holds a reference. */
static void call_run(gpointer data)
{
    Call *call = data;
    GError *error = NULL;

    call->arena = arena_pool_take(call->server->arenas);
    if (!call_handle(call, &error))
        call_fail(call, error);
    arena_pool_give(call->server->arenas, g_steal_pointer(&call->arena));
    call_unref(call);
}

/* ---- the completion queue's thread ---- */

static void call_refuse(Call *call, StatusCode status, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void call_refuse(Call *call, StatusCode status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    call_fail(call, g_error_new_valist(CRIVIRT_ERROR, (gint)status, format, args));
    va_end(args);
}

static gint64 deadline_from_grpc(gpr_timespec deadline)
{
    gint64 now_us = g_get_monotonic_time();
    gint64 at_us;
    gint64 margin_us;

    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0)
        return G_MAXINT64;
    deadline = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC); /* which is GLib's too */
    at_us = deadline.tv_sec * G_USEC_PER_SEC + deadline.tv_nsec / 1000;
    /* A little sooner than the client's own clock ends the call, so that it learns what was being waited for.
     */
    margin_us = CLAMP((at_us - now_us) / 50, 0, G_USEC_PER_SEC / 5);
    return at_us - margin_us;
}

static void server_accept(RpcServer *server)
{
    Call *call = call_new(server); /* its first reference is the operation's */

    if (grpc_server_request_call(server->grpc, &call->grpc, &call->details, &call->metadata, server->queue,
                                 server->queue, &call->accepted) != GRPC_CALL_OK)
        call_unref(call);
}

static void call_watch_close(Call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

    op.data.recv_close_on_server.cancelled = &call->was_cancelled;
    call_start(call, &op, 1, &call->closed);
}

static void call_receive(Call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    op.data.recv_message.recv_message = &call->request;
    call_start(call, &op, 1, &call->received);
}

static void on_call_accepted(Call *call, gboolean ok)
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
    if (call->method == NULL) {
        call_refuse(call, STATUS_UNIMPLEMENTED, "unknown method %s", path);
    } else if (call->method->invoke == NULL) {
        call_refuse(call, STATUS_UNIMPLEMENTED, "%s is not implemented yet", call->method->name);
    } else {
        call->types = rpc_method_descriptor(call->method);
        call_receive(call);
    }
}

static void on_request_received(Call *call, gboolean ok)
{
    Lane *lane = call->server->lanes[call->method->lane];

    if (call->request == NULL) {
        if (!ok || grpc_call_failed_before_recv_message(call->grpc) != 0)
            call_refuse(
                call, STATUS_RESOURCE_EXHAUSTED,
                "the request for %s did not arrive, or is larger than the %d bytes that a message may have",
                call->method->name, (int)RPC_MESSAGE_MAX_BYTES);
        else
            call_refuse(call, STATUS_INVALID_ARGUMENT, "%s needs a request message", call->method->name);
        return;
    }
    call_ref(call);
    if (!lane_push(lane, call)) {
        call_unref(call);
        call_refuse(call, STATUS_RESOURCE_EXHAUSTED, "too many calls at once in the %s lane; try again",
                    lane_name(lane));
    }
}

static void call_cancel(Call *call)
{
    g_cancellable_cancel(call->cancellable);
    stream_break(&call->stream);
}

static void on_call_closed(Call *call, gboolean ok)
{
    (void)ok;
    if (call->was_cancelled != 0)
        call_cancel(call);
}

static gpointer run_queue(gpointer data)
{
    RpcServer *server = data;

    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        CallTag *tag = event.tag;

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
        call_unref(tag->call);
    }
}

/* ---- opening ---- */

static void take_grpc_log(gpr_log_func_args *args)
{
    LogLevel level = args->severity == GPR_LOG_SEVERITY_ERROR ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG;

    log_write(level, LOG_FIELDS("domain", "grpc"), "%s", args->message);
}

void rpc_server_prepare_process(void)
{
    /* Children are spawned, never forked to run our code: gRPC's fork handlers would only hold locks. */
    g_setenv("GRPC_ENABLE_FORK_SUPPORT", "0", TRUE);
    signal(SIGPIPE, SIG_IGN);
    gpr_set_log_function(take_grpc_log);
}

/* gRPC replaces whatever is at the path without asking: only a dead socket may be. */
static gboolean check_socket_path(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    gboolean answered;
    int fd;

    if (strlen(path) >= sizeof address.sun_path)
        return fail(error, STATUS_INVALID_ARGUMENT, "the socket's path %s is longer than %zu bytes", path,
                    sizeof address.sun_path - 1);
    if (lstat(path, &status) != 0)
        return errno == ENOENT || fail_errno(error, errno, "cannot look at the socket %s", path);
    if (!S_ISSOCK(status.st_mode))
        return fail(error, STATUS_FAILED_PRECONDITION, "%s exists and is no socket", path);
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail_errno(error, errno, "cannot make a socket");
    answered = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    close(fd);
    if (answered)
        return fail(error, STATUS_UNAVAILABLE, "another program serves on %s", path);
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

static GHashTable *index_methods(const RpcMethod *methods, gsize n_methods)
{
    GHashTable *index = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (gsize i = 0; i < n_methods; i++)
        g_hash_table_insert(index, g_strdup_printf("/%s/%s", methods[i].service->name, methods[i].name),
                            (gpointer)&methods[i]);
    return index;
}

RpcServer *rpc_server_open(const RpcServerConfig *config, GError **error)
{
    g_autofree char *lock_path = g_strconcat(config->socket_path, ".lock", NULL);
    g_autofree char *directory = g_path_get_dirname(config->socket_path);
    g_autoptr(RpcServer) server = NULL;
    int lock_fd = -1;

    if (!dir_make(directory, 0755, error) || !file_lock(lock_path, &lock_fd, error))
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
    for (guint i = 0; i < RPC_N_LANES; i++)
        server->lanes[i] = lane_new(rpc_lane_name((RpcLane)i), config->lanes[i], call_run);
    grpc_init();
    server->queue = grpc_completion_queue_create_for_next(NULL);
    server->grpc = create_grpc_server();
    grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
    if (!check_socket_path(server->socket_path, error) || !bind_socket(server, error))
        return NULL;
    return g_steal_pointer(&server);
}

void rpc_server_start(RpcServer *server)
{
    server->started = TRUE;
    grpc_server_start(server->grpc);
    server->thread = g_thread_new("rpc-queue", run_queue, server);
    server_accept(server);
}

/* ---- stopping ---- */

static void cancel_calls(RpcServer *server, gboolean only_streams)
{
    g_autoptr(GPtrArray) calls = g_ptr_array_new();
    GHashTableIter iter;
    gpointer key;

    /* What is connected to a cancellable may take locks of its own: fire them without ours. */
    g_mutex_lock(&server->lock);
    g_hash_table_iter_init(&iter, server->calls);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        Call *call = key;

        if (!only_streams || (call->method != NULL && call->method->is_stream))
            g_ptr_array_add(calls, call_ref(call));
    }
    g_mutex_unlock(&server->lock);
    for (guint i = 0; i < calls->len; i++) {
        call_cancel(g_ptr_array_index(calls, i));
        call_unref(g_ptr_array_index(calls, i));
    }
}

static gboolean wait_until_stopped(RpcServer *server, gint64 until_us)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&server->lock);

    while (!server->stopped)
        if (!g_cond_wait_until(&server->changed, &server->lock, until_us))
            return FALSE;
    return TRUE;
}

void rpc_server_stop(RpcServer *server, gint64 grace_ms)
{
    cancel_calls(server, TRUE);
    grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->stopped_tag);
    if (!wait_until_stopped(server, g_get_monotonic_time() + grace_ms * 1000)) {
        cancel_calls(server, FALSE);
        grpc_server_cancel_all_calls(server->grpc);
        wait_until_stopped(server, G_MAXINT64);
    }
    for (guint i = 0; i < RPC_N_LANES; i++)
        g_clear_pointer(&server->lanes[i], lane_free);
    grpc_completion_queue_shutdown(server->queue);
    g_clear_pointer(&server->thread, g_thread_join);
    server->started = FALSE;
}

/* A server that was opened only: gRPC wants a shutdown all the same, and a queue that is drained. */
static void stop_unstarted(RpcServer *server)
{
    grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->stopped_tag);
    grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    for (guint i = 0; i < RPC_N_LANES; i++)
        g_clear_pointer(&server->lanes[i], lane_free);
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
