/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc/list_stream.h"

typedef struct {
    ProtobufCMessage **items;
    size_t count;
} Items;

/* The first field of a message, which is repeated. */
static void *items_field(const ProtobufCMessage *message)
{
    return (char *)(void *)message + message->descriptor->fields[0].offset;
}

static size_t *count_field(const ProtobufCMessage *message)
{
    return (size_t *)(void *)((char *)(void *)message + message->descriptor->fields[0].quantifier_offset);
}

/* Return: how many of the first items go into the next message; at least one. */
static size_t chunk_count(const Items *items)
{
    size_t bytes = 0;
    size_t n = 0;

    while (n < items->count && (n == 0 || bytes < LIST_STREAM_BYTES))
        bytes += protobuf_c_message_get_packed_size(items->items[n++]);
    return n;
}

/* Items that are encoded already. */
static gboolean send_encoded(const RpcCall *call, const ProtobufCMessage *answer, ProtobufCMessage *message,
                             GError **error)
{
    unsigned done = 0;

    while (done < answer->n_unknown_fields) {
        size_t bytes = 0;
        unsigned n = 0;

        while (done + n < answer->n_unknown_fields && (n == 0 || bytes < LIST_STREAM_BYTES))
            bytes += answer->unknown_fields[done + n++].len;
        message->unknown_fields = &answer->unknown_fields[done];
        message->n_unknown_fields = n;
        if (!rpc_stream_send(call->stream, message, error))
            return FALSE;
        done += n;
    }
    return TRUE;
}

gboolean list_stream_send(const RpcCall *call, const ProtobufCMessage *answer,
                          const ProtobufCMessageDescriptor *chunk, GError **error)
{
    Items left = {*(ProtobufCMessage ***)items_field(answer), *count_field(answer)};
    ProtobufCMessage *message = arena_alloc(call->arena, chunk->sizeof_message);

    g_assert(answer->descriptor->fields[0].descriptor == chunk->fields[0].descriptor);
    g_assert(answer->descriptor->fields[0].id == chunk->fields[0].id);
    protobuf_c_message_init(chunk, message);
    if (answer->n_unknown_fields > 0)
        return send_encoded(call, answer, message, error);
    while (left.count > 0) {
        size_t count = chunk_count(&left);

        *(ProtobufCMessage ***)items_field(message) = left.items;
        *count_field(message) = count;
        if (!rpc_stream_send(call->stream, message, error))
            return FALSE;
        left = (Items){left.items + count, left.count - count};
    }
    return TRUE;
}
