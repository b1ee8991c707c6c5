/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/grpc_client.h"

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/error.h"

enum { MAX_MESSAGE_BYTES = 16 * 1024 * 1024 };

struct GrpcClient {
    char *socket_path;
    grpc_channel *channel;
    grpc_completion_queue *queue; /* for pluck: a thread waits for each batch by its tag */
};

/* One call in flight. The members that gRPC writes to must outlive the batches. */
typedef struct {
    GrpcClient *client;
    const ProtobufCMethodDescriptor *method;
    grpc_call *call;
    GCancellable *cancellable; /* borrowed, may be NULL */
    gulong cancel_handler;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code status;
    grpc_slice details;
} Call;

/* The tags of the batches; only their addresses matter. */
static char tag_start;
static char tag_status;
static char tag_message;

/* --- opening ------------------------------------------------------------------------------------------- */

/* gRPC would retry a socket without a listener until the deadline; one connect() reports it at once. */
static gboolean probe_socket(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;
    int failure = 0;

    if (strlen(path) >= sizeof address.sun_path)
        return fail(error, STATUS_INVALID_ARGUMENT, "the path of the socket is too long: %s", path);
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(error, errno, "cannot create a socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        failure = errno;
    close(fd);
    if (failure == 0)
        return TRUE;
    if (failure == EACCES || failure == EPERM)
        return fail(error, STATUS_PERMISSION_DENIED,
                    "cannot open the socket %s: permission denied; run crivirt as root", path);
    if (failure == ENOENT || failure == ECONNREFUSED)
        return fail(error, STATUS_UNAVAILABLE, "cannot reach crivirtd at %s: is it running?", path);
    return fail(error, STATUS_UNAVAILABLE, "cannot reach crivirtd at %s: %s", path, g_strerror(failure));
}

static grpc_channel *channel_new(const char *socket_path)
{
    g_autofree char *target = g_strconcat("unix:", socket_path, NULL);
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_arg values[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = MAX_MESSAGE_BYTES},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_SEND_MESSAGE_LENGTH,
         .value.integer = MAX_MESSAGE_BYTES},
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0},
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_RETRIES, .value.integer = 0},
    };
    grpc_channel_args args = {G_N_ELEMENTS(values), values};
    grpc_channel *channel = grpc_channel_create(target, credentials, &args);

    grpc_channel_credentials_release(credentials);
    return channel;
}

GrpcClient *grpc_client_open(const char *socket_path, GError **error)
{
    GrpcClient *client;

    if (g_str_has_prefix(socket_path, "unix://"))
        socket_path += strlen("unix://");
    if (!probe_socket(socket_path, error))
        return NULL;
    grpc_init();
    client = g_new0(GrpcClient, 1);
    client->socket_path = g_strdup(socket_path);
    client->channel = channel_new(socket_path);
    client->queue = grpc_completion_queue_create_for_pluck(NULL);
    return client;
}

void grpc_client_close(GrpcClient *client)
{
    if (client == NULL)
        return;
    grpc_channel_destroy(client->channel);
    grpc_completion_queue_shutdown(client->queue);
    grpc_completion_queue_destroy(client->queue);
    grpc_shutdown();
    g_free(client->socket_path);
    g_free(client);
}

/* --- one call ------------------------------------------------------------------------------------------ */

static gpr_timespec call_deadline(const Deadline *deadline)
{
    int left_ms = deadline_left_ms(deadline);

    if (left_ms == G_MAXINT)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(left_ms, GPR_TIMESPAN));
}

static void cancel_call(GCancellable *cancellable, gpointer call)
{
    (void)cancellable;
    grpc_call_cancel(call, NULL);
}

static void call_begin(Call *call, GrpcClient *client, const ProtobufCServiceDescriptor *service,
                       const char *method, const Deadline *deadline)
{
    g_autofree char *path = g_strdup_printf("/%s/%s", service->name, method);
    grpc_slice slice = grpc_slice_from_copied_string(path);

    *call = (Call){.client = client, .status = GRPC_STATUS_UNKNOWN, .details = grpc_empty_slice()};
    call->method = protobuf_c_service_descriptor_get_method_by_name(service, method);
    g_assert(call->method != NULL);
    grpc_metadata_array_init(&call->initial_metadata);
    grpc_metadata_array_init(&call->trailing_metadata);
    call->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue,
                                          slice, NULL, call_deadline(deadline), NULL);
    grpc_slice_unref(slice);
    call->cancellable = deadline != NULL ? deadline->cancellable : NULL;
    if (call->cancellable != NULL)
        call->cancel_handler =
            g_cancellable_connect(call->cancellable, G_CALLBACK(cancel_call), call->call, NULL);
}

static void call_end(Call *call)
{
    if (call->cancel_handler != 0)
        g_cancellable_disconnect(call->cancellable, call->cancel_handler);
    grpc_metadata_array_destroy(&call->initial_metadata);
    grpc_metadata_array_destroy(&call->trailing_metadata);
    grpc_slice_unref(call->details);
    grpc_call_unref(call->call);
}

static void batch_start(Call *call, const grpc_op *ops, gsize n_ops, void *tag)
{
    /* Fails only when the batch itself is malformed. */
    grpc_call_error result = grpc_call_start_batch(call->call, ops, n_ops, tag, NULL);

    g_assert(result == GRPC_CALL_OK);
}

static void batch_wait(Call *call, void *tag)
{
    grpc_completion_queue_pluck(call->client->queue, tag, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

/* Packs the message into the slice that is sent. */
static grpc_byte_buffer *request_pack(const ProtobufCMessage *request)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(request));
    grpc_byte_buffer *buffer;

    protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(slice));
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static const ProtobufCMessage *answer_unpack(const Call *call, grpc_byte_buffer *buffer, Arena *arena,
                                             GError **error)
{
    grpc_byte_buffer_reader reader;
    const ProtobufCMessage *message = NULL;
    grpc_slice slice;

    if (grpc_byte_buffer_reader_init(&reader, buffer)) {
        slice = grpc_byte_buffer_reader_readall(&reader);
        message = protobuf_c_message_unpack(call->method->output, arena_allocator(arena),
                                            GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    if (message == NULL)
        fail(error, STATUS_INTERNAL, "crivirtd's answer to %s cannot be decoded", call->method->name);
    return message;
}

/* Sends the request; the answer's metadata and the status are received into the call. */
static void call_send(Call *call, const ProtobufCMessage *request)
{
    grpc_byte_buffer *buffer = request_pack(request);
    grpc_op start[4] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                        {.op = GRPC_OP_SEND_MESSAGE},
                        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                        {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

    g_assert(request->descriptor == call->method->input);
    start[1].data.send_message.send_message = buffer;
    start[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial_metadata;
    status.data.recv_status_on_client.trailing_metadata = &call->trailing_metadata;
    status.data.recv_status_on_client.status = &call->status;
    status.data.recv_status_on_client.status_details = &call->details;
    batch_start(call, start, G_N_ELEMENTS(start), &tag_start);
    batch_start(call, &status, 1, &tag_status);
    batch_wait(call, &tag_start);
    grpc_byte_buffer_destroy(buffer);
}

/* Return: the next message; NULL when the stream has ended. */
static grpc_byte_buffer *call_receive(Call *call)
{
    grpc_byte_buffer *buffer = NULL;
    grpc_op receive = {.op = GRPC_OP_RECV_MESSAGE};

    receive.data.recv_message.recv_message = &buffer;
    batch_start(call, &receive, 1, &tag_message);
    batch_wait(call, &tag_message);
    return buffer;
}

static gboolean call_finish(Call *call, GError **error)
{
    g_autofree char *raw = NULL;
    g_autofree char *details = NULL;

    batch_wait(call, &tag_status);
    if (call->status == GRPC_STATUS_OK)
        return TRUE;
    raw = g_strndup((const char *)GRPC_SLICE_START_PTR(call->details), GRPC_SLICE_LENGTH(call->details));
    details = g_utf8_make_valid(raw, -1);
    if (call->cancellable != NULL && g_cancellable_is_cancelled(call->cancellable))
        return fail(error, STATUS_CANCELLED, "interrupted");
    if (call->status == GRPC_STATUS_UNAVAILABLE && !probe_socket(call->client->socket_path, NULL))
        return fail(error, STATUS_UNAVAILABLE, "the connection to crivirtd at %s was lost: is it running?",
                    call->client->socket_path);
    return fail(error, (StatusCode)call->status, "%s", *details != '\0' ? details : call->method->name);
}

const ProtobufCMessage *grpc_client_call(GrpcClient *client, const ProtobufCServiceDescriptor *service,
                                         const char *method, const ProtobufCMessage *request,
                                         const Deadline *deadline, Arena *arena, GError **error)
{
    const ProtobufCMessage *answer = NULL;
    grpc_byte_buffer *buffer;
    Call call;

    call_begin(&call, client, service, method, deadline);
    call_send(&call, request);
    buffer = call_receive(&call);
    if (call_finish(&call, error)) {
        if (buffer != NULL)
            answer = answer_unpack(&call, buffer, arena, error);
        else
            fail(error, STATUS_INTERNAL, "crivirtd did not answer %s", method);
    }
    grpc_byte_buffer_destroy(buffer);
    call_end(&call);
    return answer;
}

gboolean grpc_client_stream(GrpcClient *client, const ProtobufCServiceDescriptor *service, const char *method,
                            const ProtobufCMessage *request, const Deadline *deadline, GrpcMessageFunc func,
                            gpointer data, GError **error)
{
    grpc_byte_buffer *buffer;
    gboolean good = TRUE;
    Call call;

    call_begin(&call, client, service, method, deadline);
    call_send(&call, request);
    while (good && (buffer = call_receive(&call)) != NULL) {
        g_autoptr(Arena) arena = arena_new();
        const ProtobufCMessage *message = answer_unpack(&call, buffer, arena, error);

        grpc_byte_buffer_destroy(buffer);
        good = message != NULL && func(message, data, error);
    }
    if (!good)
        grpc_call_cancel(call.call, NULL);
    good = call_finish(&call, good ? error : NULL) && good;
    call_end(&call);
    return good;
}
