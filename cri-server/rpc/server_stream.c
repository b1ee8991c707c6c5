/* SPDX-License-Identifier: Apache-2.0 */
#include "common/lock_assert.h"
#include "cri-server/rpc/message_text.h"
#include "cri-server/rpc/server_call.h"

#include <grpc/byte_buffer.h>

enum {
    STREAM_QUEUE_MAX_BYTES = 1024 * 1024,
    STREAM_MESSAGE_COST_BYTES = 256, /* memory of a queued message beside its own bytes */
};

static void on_message_sent(ServerCall *call, gboolean ok);

static void free_buffer(gpointer buffer)
{
    grpc_byte_buffer_destroy(buffer);
}

void server_stream_init(RpcStream *stream, ServerCall *call)
{
    stream->call = call;
    call->sent = (CallTag){call, on_message_sent};
    g_mutex_init(&stream->lock);
    g_cond_init(&stream->changed);
    g_queue_init(&stream->waiting);
}

void server_stream_clear(RpcStream *stream)
{
    g_queue_clear_full(&stream->waiting, free_buffer);
    g_mutex_clear(&stream->lock);
    g_cond_clear(&stream->changed);
    g_free(stream->message);
}

/* Sends the next message, or the status after the last one, unless a message is being sent. */
static void stream_advance_locked(RpcStream *stream)
{
    grpc_op ops[2] = {0};
    gsize n_ops = 0;
    grpc_byte_buffer *message;

    LOCK_ASSERT_HELD(&stream->lock);
    if (stream->sending)
        return;
    message = g_queue_pop_head(&stream->waiting);
    if (message == NULL) {
        if (stream->finished) {
            stream->sending = TRUE;
            server_call_answer(stream->call, &(CallAnswer){.with_headers = !stream->headers_sent,
                                                           .status = stream->status,
                                                           .text = stream->message});
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
    server_call_start(stream->call, ops, n_ops, &stream->call->sent);
    grpc_byte_buffer_destroy(message);
}

static void on_message_sent(ServerCall *call, gboolean ok)
{
    RpcStream *stream = &call->stream;

    g_mutex_lock(&stream->lock);
    stream->sending = FALSE;
    if (!ok) {
        stream->broken = TRUE;
        g_queue_clear_full(&stream->waiting, free_buffer);
        stream->waiting_bytes = 0;
    }
    stream_advance_locked(stream);
    g_cond_broadcast(&stream->changed);
    g_mutex_unlock(&stream->lock);
}

void server_stream_break(RpcStream *stream)
{
    g_mutex_lock(&stream->lock);
    stream->broken = TRUE;
    g_cond_broadcast(&stream->changed);
    g_mutex_unlock(&stream->lock);
}

/* Waits until the queue has room for that many bytes. */
static gboolean stream_wait_for_room_locked(RpcStream *stream, gsize bytes, GError **error)
{
    const Deadline patience = deadline_sooner(&stream->call->deadline, RPC_STREAM_PATIENCE_MS);

    LOCK_ASSERT_HELD(&stream->lock);
    while (!stream->broken && stream->waiting_bytes > 0 &&
           stream->waiting_bytes + bytes > STREAM_QUEUE_MAX_BYTES)
        if (!g_cond_wait_until(&stream->changed, &stream->lock, patience.at_us)) {
            if (patience.at_us < stream->call->deadline.at_us)
                return fail(error, STATUS_RESOURCE_EXHAUSTED, "the client has read nothing for %d s",
                            RPC_STREAM_PATIENCE_MS / 1000);
            return fail(error, STATUS_DEADLINE_EXCEEDED, "deadline exceeded while sending to the client");
        }
    return !stream->broken || fail(error, STATUS_CANCELLED, "the client has disconnected");
}

gboolean rpc_stream_send(RpcStream *stream, ProtobufCMessage *message, GError **error)
{
    grpc_byte_buffer *buffer;
    gboolean queued;
    gsize bytes;

    message_text_repair(message, stream->call->arena);
    buffer = server_message_pack(message, protobuf_c_message_get_packed_size(message), stream->call->arena);
    bytes = grpc_byte_buffer_length(buffer) + STREAM_MESSAGE_COST_BYTES;
    g_mutex_lock(&stream->lock);
    queued = stream_wait_for_room_locked(stream, bytes, error);
    if (queued) {
        g_queue_push_tail(&stream->waiting, buffer);
        stream->waiting_bytes += bytes;
        stream_advance_locked(stream);
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

void server_stream_finish(RpcStream *stream, StatusCode status, const char *message)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&stream->lock);

    stream->finished = TRUE;
    stream->status = status;
    stream->message = g_strdup(message);
    stream_advance_locked(stream);
}
