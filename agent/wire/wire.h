/* Framing of the agent channel: a byte stream that keeps its bytes but may be cut anywhere when the daemon
 * ends.
 *
 *   frame = length (u32 little-endian, 1 … WIRE_MAX_FRAME_BYTES) | checksum of the payload (u32 LE) | payload
 *   sync  = WIRE_SYNC_WORD (16 bytes) | nonce (u64 LE)
 *   A length of 0 is padding: those 4 bytes are skipped.
 *
 * The checksum is the payload's CRC-32; to a peer that is known to speak WIRE_PROTOCOL_QUICK_SUM it may be
 * a Fletcher sum instead, of the 64-bit words w (LE, the last one filled up with zeros), and a = 1, b = 0:
 *   for each w: a += w, b += a;  a ^= a >> 32, b ^= b >> 32;  a's low half ^ b's low half rotated by 16 bits.
 * What it guards against is a lost position, not bad memory. Decoders take both.
 *
 * Each connection starts with the daemon's WIRE_MAX_FRAME_BYTES of zero bytes (left out for a guest that has
 * just booted; they run out whatever frame the previous connection was cut in) and a sync with a fresh random
 * nonce. The agent answers with the same sync, then HelloRequest/HelloResponse follow. Until it sees its own
 * nonce the daemon throws away what it reads; so does the agent until it sees a sync. A bad length or sum
 * sends a decoder back to looking for a sync; the daemon then drops the connection and makes a new one.
 *
 * No GLib here: the agent links this statically.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_PROTOCOL_VERSION = 3,
    WIRE_PROTOCOL_INPUT_WINDOW = 2, /* since then: InputAck, hang-up, Dial */
    WIRE_PROTOCOL_QUICK_SUM = 3,    /* since then: a checksum that costs less than the channel itself */
    WIRE_MAX_FRAME_BYTES = 1 << 20,
    WIRE_HEADER_BYTES = 8,
    WIRE_SYNC_BYTES = 24,
    /* Unacknowledged output of one stream. A daemon that speaks version 2 keeps as much unread. */
    WIRE_WINDOW_BYTES = 512 << 10,
    WIRE_INPUT_WINDOW_BYTES = 128 << 10, /* unacknowledged input of one process */
    WIRE_OUTPUT_BYTES = 31 << 10, /* most data in one Output: its frame fits the 32 KiB that Linux's virtio
                                     console takes per write */
};

/* The virtio-serial port's name; /dev/virtio-ports/… or /sys/class/virtio-ports/…/name in the guest. */
#define WIRE_PORT_NAME "org.crivirt.agent.0"

void wire_sync_encode(uint64_t nonce, uint8_t ret_sync[WIRE_SYNC_BYTES]);
/* payload_length is 1 … WIRE_MAX_FRAME_BYTES; peer_protocol: the version that who gets it is known to speak,
 * 0 before its Hello. */
void wire_header_encode(const uint8_t *payload, size_t payload_length, uint32_t peer_protocol,
                        uint8_t ret_header[WIRE_HEADER_BYTES]);

typedef enum {
    WIRE_MORE,  /* nothing complete in what was given so far */
    WIRE_SYNC,  /* a sync: nonce is set */
    WIRE_FRAME, /* a frame: payload and payload_length are set, valid until the next call and only while the
                   caller's data is (a frame that lies in it whole is not copied) */
    WIRE_BAD,   /* a bad length or CRC; the decoder looks for a sync from here on */
} WireEvent;

typedef struct WireDecoder WireDecoder;

typedef struct {
    uint64_t nonce;
    const uint8_t *payload;
    size_t payload_length;
} WireItem;

/* Starts looking for a sync. NULL when out of memory. Holds at most one frame. */
WireDecoder *wire_decoder_new(void);
void wire_decoder_free(WireDecoder *decoder); /* takes NULL */
/* Back to looking for a sync: what a new connection starts with. */
void wire_decoder_reset(WireDecoder *decoder);

/* Consumes bytes up to the end of the next item: advances *data and lowers *length. Call again while *length
 * > 0. In the search state everything before a sync is dropped; once in step, a sync is recognised only
 * between frames. */
WireEvent wire_decoder_next(WireDecoder *decoder, const uint8_t **data, size_t *length, WireItem *ret_item);
