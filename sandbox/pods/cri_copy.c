/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/cri_copy.h"

GBytes *cri_pack(const ProtobufCMessage *message)
{
    gsize length = protobuf_c_message_get_packed_size(message);
    guint8 *data = g_malloc(MAX(length, 1));

    protobuf_c_message_pack(message, data);
    return g_bytes_new_take(data, length);
}

void *cri_dup(const ProtobufCMessage *message)
{
    g_autoptr(GBytes) wire = cri_pack(message);

    return protobuf_c_message_unpack(message->descriptor, NULL, g_bytes_get_size(wire),
                                     g_bytes_get_data(wire, NULL));
}

void *cri_copy(Arena *arena, const ProtobufCMessage *message)
{
    gsize length = protobuf_c_message_get_packed_size(message);
    guint8 *data = arena_alloc(arena, MAX(length, 1));

    protobuf_c_message_pack(message, data);
    return protobuf_c_message_unpack(message->descriptor, arena_allocator(arena), length, data);
}
