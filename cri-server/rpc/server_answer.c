/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"
#include "common/metrics.h"
#include "common/spans.h"
#include "cri-server/rpc/message_text.h"
#include "cri-server/rpc/server_call.h"
#include "cri-server/rpc/status_text.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <stdarg.h>

/* Failures that are about this node, rather than about the request, are logged as warnings. */
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

/* Streams are not timed: the client decides how long one lasts. */
static void call_count(const ServerCall *call, StatusCode status, gboolean failed)
{
    if (call->method == NULL)
        return;
    if (!call->method->is_stream)
        metric_observe_since(&rpc_seconds, call->arrived_us, call->method->name, NULL);
    if (failed)
        metric_add(&rpc_failures, 1, call->method->name, status_name(status));
}

static void call_log(const ServerCall *call, StatusCode status, const char *message)
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

/* Takes ownership of the error. */
static void call_fail(ServerCall *call, GError *error)
{
    StatusCode status = error_status(error);
    g_autofree char *message = status_text(error->message);

    call_log(call, status, message);
    span_note("rpc.grpc.status", status_name(status));
    span_end(message);
    if (call->method != NULL && call->method->is_stream)
        server_stream_finish(&call->stream, status, message);
    else
        server_call_answer(call, &(CallAnswer){.with_headers = TRUE, .status = status, .text = message});
    g_error_free(error);
}

static gboolean call_succeed(ServerCall *call, ProtobufCMessage *response, GError **error)
{
    grpc_byte_buffer *buffer;
    gsize size;

    if (call->method->is_stream) {
        call_log(call, STATUS_UNKNOWN, NULL);
        span_end(NULL);
        server_stream_finish(&call->stream, (StatusCode)GRPC_STATUS_OK, NULL);
        return TRUE;
    }
    message_text_repair(response, call->arena);
    size = protobuf_c_message_get_packed_size(response);
    if (size > RPC_MESSAGE_MAX_BYTES)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the answer to %s is %" G_GSIZE_FORMAT
                    " bytes, more than the %d bytes that a message may have",
                    call->method->name, size, (int)RPC_MESSAGE_MAX_BYTES);
    call_log(call, STATUS_UNKNOWN, NULL);
    span_end(NULL);
    buffer = server_message_pack(response, size, call->arena);
    server_call_answer(
        call, &(CallAnswer){.with_headers = TRUE, .message = buffer, .status = (StatusCode)GRPC_STATUS_OK});
    grpc_byte_buffer_destroy(buffer);
    return TRUE;
}

static const ProtobufCMessage *call_decode(ServerCall *call, GError **error)
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

static gboolean call_handle(ServerCall *call, GError **error)
{
    const ProtobufCMessageDescriptor *type = call->types->output;
    RpcCall handled = {.daemon = call->server->daemon,
                       .arena = call->arena,
                       .deadline = &call->deadline,
                       .stream = call->method->is_stream ? &call->stream : NULL,
                       .by_alias = call->by_alias};
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

/* Return: the trace context that the client sent, which the caller frees; NULL: none. */
static char *trace_context(const ServerCall *call)
{
    for (gsize i = 0; i < call->metadata.count; i++)
        if (grpc_slice_str_cmp(call->metadata.metadata[i].key, "traceparent") == 0)
            return g_strndup((const char *)GRPC_SLICE_START_PTR(call->metadata.metadata[i].value),
                             GRPC_SLICE_LENGTH(call->metadata.metadata[i].value));
    return NULL;
}

/* Lists and statistics, which a kubelet asks for all the time, have no spans, nor have streams. */
static gboolean call_has_span(const ServerCall *call)
{
    return call->method->pool == RPC_POOL_POD || call->method->pool == RPC_POOL_EXEC ||
           call->method->pool == RPC_POOL_IMAGE;
}

static void call_begin_span(const ServerCall *call)
{
    g_autofree char *parent = trace_context(call);
    const char *service = call->method->service->name;
    g_autofree char *name = g_strconcat(service, "/", call->method->name, NULL);

    span_begin(name, parent, call->arrived_us);
    span_note("rpc.system", "grpc");
    span_note("rpc.service", service);
    span_note("rpc.method", call->method->name);
}

void server_call_run(gpointer data)
{
    ServerCall *call = data;
    GError *error = NULL;

    if (call_has_span(call))
        call_begin_span(call);
    call->arena = arena_pool_take(call->server->arenas);
    if (!call_handle(call, &error))
        call_fail(call, error);
    arena_pool_give(call->server->arenas, g_steal_pointer(&call->arena));
    server_call_unref(call);
}

void server_call_refuse(ServerCall *call, StatusCode status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    call_fail(call, g_error_new_valist(CRIVIRT_ERROR, (gint)status, format, args));
    va_end(args);
}
