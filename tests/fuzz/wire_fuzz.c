/* Both ends of the agent channel on hostile bytes: the decoder in pieces whose sizes the first byte picks,
 * then the messages of both directions, out of frames and as they are. What is read must survive being
 * written.
 */
#include <stdint.h>
#include <stdlib.h>

#include "agent.pb-c.h"
#include "agent/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void unpack_both(const uint8_t *payload, size_t length)
{
    Crivirt__Agent__V1__ToGuest *to = crivirt__agent__v1__to_guest__unpack(NULL, length, payload);
    Crivirt__Agent__V1__FromGuest *from = crivirt__agent__v1__from_guest__unpack(NULL, length, payload);
    if (to != NULL) {
        uint8_t *again = malloc(crivirt__agent__v1__to_guest__get_packed_size(to) + 1);
        crivirt__agent__v1__to_guest__pack(to, again);
        free(again);
        crivirt__agent__v1__to_guest__free_unpacked(to, NULL);
    }
    if (from != NULL) {
        uint8_t *again = malloc(crivirt__agent__v1__from_guest__get_packed_size(from) + 1);
        crivirt__agent__v1__from_guest__pack(from, again);
        free(again);
        crivirt__agent__v1__from_guest__free_unpacked(from, NULL);
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
                unpack_both(item.payload, item.payload_length);
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
    wire_decoder_reset(decoder); /* and as one good frame */
    decode(decoder, sync, sizeof sync, piece);
    wire_header_encode(data, size, header);
    decode(decoder, header, sizeof header, piece);
    decode(decoder, data, size, piece);
    wire_decoder_free(decoder);
    return 0;
}
