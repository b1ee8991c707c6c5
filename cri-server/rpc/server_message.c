/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc/server_call.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice_buffer.h>
#include <string.h>

enum {
    PARTS_FROM_BYTES =
        512 * 1024,        /* smaller messages are encoded in one piece, which is simpler and quicker */
    BORROWED_BYTES = 4096, /* from here on, bytes are sent from where they are */
    BLOCK_BYTES = 16 * 1024,
};

/* Collects the parts of a message: slices of blocks, into which small parts are copied, and slices of the
 * arena. */
typedef struct {
    ProtobufCBuffer base;
    Arena *arena;
    const guint8 *known; /* bytes of the arena, where the next part is likely to be */
    gsize n_known;
    grpc_slice_buffer *slices;
    grpc_slice block;
    gsize begin; /* of what the block has that is not in the slices yet */
    gsize used;
} Parts;

static void parts_flush(Parts *parts)
{
    if (parts->used > parts->begin)
        grpc_slice_buffer_add(parts->slices, grpc_slice_sub(parts->block, parts->begin, parts->used));
    parts->begin = parts->used;
}

static void parts_copy(Parts *parts, gsize length, const guint8 *data)
{
    if (GRPC_SLICE_LENGTH(parts->block) - parts->used < length) {
        parts_flush(parts);
        grpc_slice_unref(parts->block);
        parts->block = grpc_slice_malloc(MAX(length, (gsize)BLOCK_BYTES));
        parts->begin = parts->used = 0;
    }
    memcpy(GRPC_SLICE_START_PTR(parts->block) + parts->used, data, length);
    parts->used += length;
}

/* Whether data is in the arena, rather than in what it only holds. */
static gboolean parts_can_borrow(Parts *parts, const guint8 *data)
{
    if (data >= parts->known && data < parts->known + parts->n_known)
        return TRUE;
    parts->n_known = arena_bytes_from(parts->arena, data);
    parts->known = data;
    return parts->n_known > 0;
}

static void arena_done(void *arena)
{
    arena_free(arena);
}

static void parts_append(ProtobufCBuffer *buffer, size_t length, const uint8_t *data)
{
    Parts *parts = (Parts *)buffer;

    if (length < BORROWED_BYTES || !parts_can_borrow(parts, data)) {
        parts_copy(parts, length, data);
        return;
    }
    parts_flush(parts);
    grpc_slice_buffer_add(parts->slices, grpc_slice_new_with_user_data((void *)data, length, arena_done,
                                                                       arena_ref(parts->arena)));
}

static grpc_byte_buffer *pack_in_parts(const ProtobufCMessage *message, Arena *arena)
{
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(NULL, 0);
    Parts parts = {.base.append = parts_append,
                   .arena = arena,
                   .slices = &buffer->data.raw.slice_buffer,
                   .block = grpc_empty_slice()};

    protobuf_c_message_pack_to_buffer(message, &parts.base);
    parts_flush(&parts);
    grpc_slice_unref(parts.block);
    return buffer;
}

/* Whether the message's fields are encoded already, as those of metrics are. */
static gboolean has_encoded_bytes(const ProtobufCMessage *message)
{
    return message->n_unknown_fields > 0 && message->unknown_fields[0].len >= BORROWED_BYTES;
}

grpc_byte_buffer *server_message_pack(const ProtobufCMessage *message, gsize size, Arena *arena)
{
    grpc_byte_buffer *buffer;
    grpc_slice slice;

    if (size >= PARTS_FROM_BYTES || has_encoded_bytes(message))
        return pack_in_parts(message, arena);
    slice = grpc_slice_malloc(size);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}
