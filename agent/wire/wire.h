/* SPDX-License-Identifier: Apache-2.0 */
/* Framing of the agent channel. The channel is a byte stream that loses no bytes, but it may be cut anywhere
 * when the daemon ends.
 *
 *   frame = length (u32 little-endian, 1 … WIRE_MAX_FRAME_BYTES) | checksum of the payload (u32 LE) | payload
 *   sync  = WIRE_SYNC_WORD (16 bytes) | nonce (u64 LE)
 *   A length of 0 is padding: those 4 bytes are skipped.
 *
 * The checksum is the payload's CRC-32. To a peer that is known to speak WIRE_PROTOCOL_QUICK_SUM it may be a
 * Fletcher sum instead, over the 64-bit words w (LE, the last word padded with zeros), starting with a = 1, b
 * = 0: for each w: a += w, b += a;  a ^= a >> 32, b ^= b >> 32;  a's low half ^ b's low half rotated by 16
 * bits. The checksum detects a lost position in the stream, not bad memory. Decoders accept both kinds.
 *
 * At the start of each connection the daemon sends WIRE_MAX_FRAME_BYTES of zero bytes and a sync with a new
 * random nonce. The zero bytes complete whatever frame the previous connection was cut in; for a guest that
 * has just booted they are left out. The agent answers with the same sync, then HelloRequest and
 * HelloResponse follow. The daemon discards what it reads until it sees its own nonce; the agent discards
 * what it reads until it sees a sync. After a bad length or checksum a decoder looks for a sync again; the
 * daemon then drops the connection and makes a new one.
 *
 * This code uses no GLib, because the agent links it statically.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_PROTOCOL_VERSION = 8,
    WIRE_PROTOCOL_INPUT_WINDOW = 2, /* the first version with InputAck, hang-up and Dial */
    WIRE_PROTOCOL_QUICK_SUM =
        3,                   /* the first version with the Fletcher sum, which costs less than the channel */
    WIRE_PROTOCOL_PARTS = 4, /* the first version with Part, for messages that are longer than a frame */
    WIRE_PROTOCOL_CLOCK = 5, /* the first version with SetClock, and with times in a PingResponse */
    WIRE_PROTOCOL_GUEST =
        6, /* the first version with KernelLog, PauseContainer, and Exec in the guest itself */
    WIRE_PROTOCOL_SAVE = 7, /* the first version with Freeze, Thaw and Restore */
    WIRE_PROTOCOL_PARK = 8, /* the first version that keeps the share of a guest that is saved */
    WIRE_MAX_FRAME_BYTES = 1 << 20,
    WIRE_MAX_MESSAGE_BYTES = 16 << 20, /* of a message in parts: as much as a gRPC message has */
    WIRE_PART_BYTES = 512 << 10,       /* data in one Part */
    WIRE_HEADER_BYTES = 8,
    WIRE_SYNC_BYTES = 24,
    /* Unacknowledged output of one stream. The daemon keeps as much of it unread. */
    WIRE_WINDOW_BYTES = 512 << 10,
    WIRE_INPUT_WINDOW_BYTES = 128 << 10, /* unacknowledged input of one process */
    WIRE_OUTPUT_BYTES = 31 << 10, /* the most data in one Output: its frame fits the 32 KiB that Linux's
                                     virtio console takes in one write */
};

/* The virtio-serial port's name. In the guest, /sys/class/virtio-ports/…/name contains it. */
#define WIRE_PORT_NAME "org.crivirt.agent.0"

void wire_sync_encode(uint64_t nonce, uint8_t ret_sync[WIRE_SYNC_BYTES]);
/* Encodes the header of a frame. payload_length is 1 … WIRE_MAX_FRAME_BYTES; peer_protocol is the version
 * that the receiver is known to speak, 0 before its Hello. */
void wire_header_encode(const uint8_t *payload, size_t payload_length, uint32_t peer_protocol,
                        uint8_t ret_header[WIRE_HEADER_BYTES]);

typedef enum {
    WIRE_MORE,  /* the data so far contains no complete item */
    WIRE_SYNC,  /* a sync: nonce is set */
    WIRE_FRAME, /* a frame: payload and payload_length are set. The payload is valid until the next call and
                   only while the caller's data is, because a frame that lies in it whole is not copied */
    WIRE_BAD,   /* a bad length or checksum; the decoder now looks for a sync */
} WireEvent;

typedef struct WireDecoder WireDecoder;

typedef struct {
    uint64_t nonce;
    const uint8_t *payload;
    size_t payload_length;
} WireItem;

/* Makes a decoder that looks for a sync and holds at most one frame. Return: NULL when out of memory. */
WireDecoder *wire_decoder_new(void);
void wire_decoder_free(WireDecoder *decoder); /* takes NULL */
/* Makes the decoder look for a sync, as at the start of a connection. */
void wire_decoder_reset(WireDecoder *decoder);

/* Consumes bytes up to the end of the next item: advances *data and lowers *length. The caller calls it again
 * while *length > 0. While the decoder looks for a sync it drops everything before the sync; after that it
 * recognises a sync only between frames. */
WireEvent wire_decoder_next(WireDecoder *decoder, const uint8_t **data, size_t *length, WireItem *ret_item);
