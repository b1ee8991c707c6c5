/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder of the agent channel on malformed bytes, in pieces whose size the first byte selects, and every
 * message of the protocol that comes out of frames. A message that can be read can be written.
 */
#include <stdint.h>
#include <stdlib.h>

#include "agent.pb-c.h"
#include "agent/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The messages of both directions, and those of each operation alone, because mutation seldom reaches nested
 * messages. */
static const ProtobufCMessageDescriptor *const messages[] = {
    &crivirt__agent__v1__to_guest__descriptor,
    &crivirt__agent__v1__from_guest__descriptor,
#define AGENT_OP(name, Name, number)                                                                         \
    &crivirt__agent__v1__##name##_request__descriptor, &crivirt__agent__v1__##name##_response__descriptor,
#include "agent/wire/ops.def"
#undef AGENT_OP
};

static void unpack_all(const uint8_t *payload, size_t length)
{
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        ProtobufCMessage *message = protobuf_c_message_unpack(messages[i], NULL, length, payload);
        uint8_t *again;

        if (message == NULL)
            continue;
        again = malloc(protobuf_c_message_get_packed_size(message) + 1);
        protobuf_c_message_pack(message, again);
        free(again);
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

static void decode(WireDecoder *decoder, const uint8_t *data, size_t size, size_t piece)
{
    while (size > 0) {
        const uint8_t *at = data;
        size_t left = size < piece ? size : piece;
        data += left;
        size -= left;
        while (left > 0) {
            WireItem item;
            if (wire_decoder_next(decoder, &at, &left, &item) == WIRE_FRAME)
                unpack_all(item.payload, item.payload_length);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t sync[WIRE_SYNC_BYTES], header[WIRE_HEADER_BYTES];
    if (size < 2)
        return 0;
    size_t piece = data[0] + 1U;
    data++;
    size--;

    WireDecoder *decoder = wire_decoder_new();
    if (decoder == NULL)
        abort();
    decode(decoder, data, size, piece);
    wire_decoder_reset(decoder);
    wire_sync_encode(size, sync);
    decode(decoder, sync, sizeof sync, piece);
    decode(decoder, data, size, piece);
    wire_decoder_reset(decoder); /* then as one valid frame */
    decode(decoder, sync, sizeof sync, piece);
    wire_header_encode(data, size, piece % 4, header);
    decode(decoder, header, sizeof header, piece);
    decode(decoder, data, size, piece);
    wire_decoder_free(decoder);
    return 0;
}
