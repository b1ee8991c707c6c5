#include "sandbox/cri_copy.h"

void *cri_copy(Arena *arena, const ProtobufCMessage *message)
{
    gsize length = protobuf_c_message_get_packed_size(message);
    guint8 *data = arena_alloc(arena, MAX(length, 1));

    protobuf_c_message_pack(message, data);
    return protobuf_c_message_unpack(message->descriptor, arena_allocator(arena), length, data);
}
