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

gboolean list_stream_send(const RpcCall *call, const ProtobufCMessage *answer,
                          const ProtobufCMessageDescriptor *chunk, GError **error)
{
    Items left = {*(ProtobufCMessage ***)items_field(answer), *count_field(answer)};
    ProtobufCMessage *message = arena_alloc(call->arena, chunk->sizeof_message);

    g_assert(answer->descriptor->fields[0].descriptor == chunk->fields[0].descriptor);
    protobuf_c_message_init(chunk, message);
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
