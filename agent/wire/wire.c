/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/wire/wire.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* No byte occurs twice, so after a failed match a new match can only start at the byte that failed. Read as a
 * length, the first four bytes are far above WIRE_MAX_FRAME_BYTES, so a frame never looks like a sync. */
static const uint8_t SYNC_WORD[16] = {0xf1, 0x9c, 0xe5, 0xd3, 'c',  'r',  'i',  'v',
                                      0x00, 't',  '1',  0x8e, 0xa7, 0xff, 0x0a, 0xb6};

struct WireDecoder {
    bool in_step;
    size_t have; /* bytes of the current sync or frame, header included */
    uint8_t head[WIRE_SYNC_BYTES];
    uint8_t *payload; /* of a frame that came in pieces; grows to the largest such frame */
    size_t payload_room;
};

/* CRC-32 (IEEE 802.3), sixteen bytes in each step. */
enum { CRC_STEP = 16 };
static uint32_t crc_table[CRC_STEP][256];

__attribute__((constructor)) static void crc_fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320U : 0);
        crc_table[0][byte] = crc;
    }
    for (int step = 1; step < CRC_STEP; step++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = crc_table[step - 1][byte];
            crc_table[step][byte] = (before >> 8) ^ crc_table[0][before & 0xff];
        }
    }
}

static uint32_t load_le32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static void store_le32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t load_le64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return le64toh(value);
}

/* The contribution of eight bytes that `after` more bytes follow in the step. */
static inline uint32_t crc_part(uint64_t bytes, int after)
{
    return crc_table[after + 7][bytes & 0xff] ^ crc_table[after + 6][(bytes >> 8) & 0xff] ^
           crc_table[after + 5][(bytes >> 16) & 0xff] ^ crc_table[after + 4][(bytes >> 24) & 0xff] ^
           crc_table[after + 3][(bytes >> 32) & 0xff] ^ crc_table[after + 2][(bytes >> 40) & 0xff] ^
           crc_table[after + 1][(bytes >> 48) & 0xff] ^ crc_table[after][bytes >> 56];
}

static uint32_t crc32_of(const uint8_t *data, size_t length)
{
    uint32_t crc = 0xffffffffU;

    for (; length >= CRC_STEP; data += CRC_STEP, length -= CRC_STEP)
        crc = crc_part(load_le64(data) ^ crc, 8) ^ crc_part(load_le64(data + 8), 0);
    for (; length > 0; data++, length--)
        crc = (crc >> 8) ^ crc_table[0][(crc ^ *data) & 0xff];
    return ~crc;
}

static uint32_t quick_sum_of(const uint8_t *data, size_t length)
{
    uint64_t a = 1, b = 0;

    for (; length >= 32; data += 32, length -= 32) {
        b += a += load_le64(data);
        b += a += load_le64(data + 8);
        b += a += load_le64(data + 16);
        b += a += load_le64(data + 24);
    }
    while (length > 0) {
        uint8_t word[8] = {0};
        size_t n = length < sizeof word ? length : sizeof word;
        memcpy(word, data, n);
        b += a += load_le64(word);
        data += n;
        length -= n;
    }
    uint32_t low = (uint32_t)(a ^ a >> 32), high = (uint32_t)(b ^ b >> 32);
    return low ^ (high << 16 | high >> 16);
}

void wire_sync_encode(uint64_t nonce, uint8_t ret_sync[WIRE_SYNC_BYTES])
{
    memcpy(ret_sync, SYNC_WORD, sizeof SYNC_WORD);
    store_le32(ret_sync + sizeof SYNC_WORD, (uint32_t)nonce);
    store_le32(ret_sync + sizeof SYNC_WORD + 4, (uint32_t)(nonce >> 32));
}

void wire_header_encode(const uint8_t *payload, size_t payload_length, uint32_t peer_protocol,
                        uint8_t ret_header[WIRE_HEADER_BYTES])
{
    bool quick = peer_protocol >= WIRE_PROTOCOL_QUICK_SUM;

    store_le32(ret_header, (uint32_t)payload_length);
    store_le32(ret_header + 4,
               quick ? quick_sum_of(payload, payload_length) : crc32_of(payload, payload_length));
}

WireDecoder *wire_decoder_new(void)
{
    return calloc(1, sizeof(WireDecoder));
}

void wire_decoder_free(WireDecoder *decoder)
{
    if (decoder != NULL)
        free(decoder->payload);
    free(decoder);
}

void wire_decoder_reset(WireDecoder *decoder)
{
    decoder->in_step = false;
    decoder->have = 0;
}

static WireEvent lose_step(WireDecoder *decoder)
{
    wire_decoder_reset(decoder);
    return WIRE_BAD;
}

/* Moves up to `until - have` bytes into the head. Return: true when the head holds `until` bytes. */
static bool fill_head(WireDecoder *decoder, size_t until, const uint8_t **data, size_t *length)
{
    size_t take = until > decoder->have ? until - decoder->have : 0;
    if (take > *length)
        take = *length;
    if (take > 0)
        memcpy(decoder->head + decoder->have, *data, take);
    decoder->have += take;
    *data += take;
    *length -= take;
    return decoder->have >= until;
}

static WireEvent finish_sync(WireDecoder *decoder, WireItem *ret_item)
{
    const uint8_t *nonce = decoder->head + sizeof SYNC_WORD;
    ret_item->nonce = (uint64_t)load_le32(nonce) | (uint64_t)load_le32(nonce + 4) << 32;
    ret_item->payload = NULL;
    ret_item->payload_length = 0;
    decoder->in_step = true;
    decoder->have = 0;
    return WIRE_SYNC;
}

/* Drops everything before a sync word; `have` counts the bytes of it that matched so far. */
static WireEvent search_sync(WireDecoder *decoder, const uint8_t **data, size_t *length, WireItem *ret_item)
{
    while (decoder->have < sizeof SYNC_WORD) {
        if (decoder->have == 0) {
            const uint8_t *start = *length > 0 ? memchr(*data, SYNC_WORD[0], *length) : NULL;
            size_t skip = start != NULL ? (size_t)(start - *data) : *length;
            *data += skip;
            *length -= skip;
        }
        if (*length == 0)
            return WIRE_MORE;
        if (**data == SYNC_WORD[decoder->have]) {
            decoder->have++;
            (*data)++;
            (*length)--;
        } else {
            decoder->have = 0; /* the same byte is compared again, as a possible start */
        }
    }
    return fill_head(decoder, WIRE_SYNC_BYTES, data, length) ? finish_sync(decoder, ret_item) : WIRE_MORE;
}

static bool make_payload_room(WireDecoder *decoder, size_t need)
{
    if (need <= decoder->payload_room)
        return true;
    free(decoder->payload);
    decoder->payload = malloc(need);
    decoder->payload_room = decoder->payload != NULL ? need : 0;
    return decoder->payload != NULL;
}

static WireEvent finish_frame(WireDecoder *decoder, const uint8_t *payload, size_t payload_length,
                              WireItem *ret_item)
{
    uint32_t sum = load_le32(decoder->head + 4);

    if (quick_sum_of(payload, payload_length) != sum && crc32_of(payload, payload_length) != sum)
        return lose_step(decoder);
    decoder->have = 0;
    ret_item->nonce = 0;
    ret_item->payload = payload;
    ret_item->payload_length = payload_length;
    return WIRE_FRAME;
}

static WireEvent read_payload(WireDecoder *decoder, size_t payload_length, const uint8_t **data,
                              size_t *length, WireItem *ret_item)
{
    size_t got = decoder->have - WIRE_HEADER_BYTES;

    if (got == 0 && *length >= payload_length) { /* the whole payload is there: no copy */
        const uint8_t *payload = *data;
        *data += payload_length;
        *length -= payload_length;
        return finish_frame(decoder, payload, payload_length, ret_item);
    }
    if (*length == 0)
        return WIRE_MORE;
    if (got == 0 && !make_payload_room(decoder, payload_length))
        return lose_step(decoder);

    size_t take = payload_length - got < *length ? payload_length - got : *length;
    memcpy(decoder->payload + got, *data, take);
    decoder->have += take;
    *data += take;
    *length -= take;
    return got + take == payload_length ? finish_frame(decoder, decoder->payload, payload_length, ret_item)
                                        : WIRE_MORE;
}

WireEvent wire_decoder_next(WireDecoder *decoder, const uint8_t **data, size_t *length, WireItem *ret_item)
{
    if (!decoder->in_step)
        return search_sync(decoder, data, length, ret_item);

    for (;;) {
        if (!fill_head(decoder, 4, data, length))
            return WIRE_MORE;
        uint32_t payload_length = load_le32(decoder->head);
        if (payload_length == 0) {
            decoder->have = 0;
            continue;
        }
        if (memcmp(decoder->head, SYNC_WORD, 4) == 0) {
            if (!fill_head(decoder, WIRE_SYNC_BYTES, data, length))
                return WIRE_MORE;
            return memcmp(decoder->head, SYNC_WORD, sizeof SYNC_WORD) == 0 ? finish_sync(decoder, ret_item)
                                                                           : lose_step(decoder);
        }
        if (payload_length > WIRE_MAX_FRAME_BYTES)
            return lose_step(decoder);
        if (!fill_head(decoder, WIRE_HEADER_BYTES, data, length))
            return WIRE_MORE;
        return read_payload(decoder, payload_length, data, length, ret_item);
    }
}
