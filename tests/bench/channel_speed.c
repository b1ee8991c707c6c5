/* SPDX-License-Identifier: Apache-2.0 */
/* The only program of a guest that shows how fast the agent's channel is by itself: the port, and the frames
 * with the checksums that daemon and agent use (agent/wire/wire.h), but no processes. A frame of five bytes
 * is a command: a letter and a number of frames (u32, little endian). 'd' makes the guest send so many frames
 * of PIECE_BYTES, 'u' receive so many and answer with a frame of one byte, 'e' send back so many.
 */
#include <fcntl.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/wire/wire.h"

enum { PIECE_BYTES = WIRE_OUTPUT_BYTES };

static int port;
static struct {
    uint8_t what;
    uint32_t left;
} order;

static void send_frame(const uint8_t *payload, size_t length)
{
    static uint8_t frame[WIRE_HEADER_BYTES + PIECE_BYTES];

    memcpy(frame + WIRE_HEADER_BYTES, payload, length);
    wire_header_encode(frame + WIRE_HEADER_BYTES, length, WIRE_PROTOCOL_VERSION, frame);
    for (size_t at = 0; at < WIRE_HEADER_BYTES + length;) {
        ssize_t n = write(port, frame + at, WIRE_HEADER_BYTES + length - at);
        at += n > 0 ? (size_t)n : 0;
    }
}

static void take_frame(const uint8_t *payload, size_t length)
{
    static const uint8_t piece[PIECE_BYTES];

    if (length == 5) {
        order.what = payload[0];
        memcpy(&order.left, payload + 1, sizeof order.left);
        for (; order.what == 'd' && order.left > 0; order.left--)
            send_frame(piece, sizeof piece);
        return;
    }
    order.left--;
    if (order.what == 'e')
        send_frame(payload, length);
    else if (order.left == 0)
        send_frame(piece, 1);
}

static void feed(WireDecoder *decoder, const uint8_t *bytes, size_t length)
{
    WireItem item;

    while (length > 0)
        if (wire_decoder_next(decoder, &bytes, &length, &item) == WIRE_FRAME)
            take_frame(item.payload, item.payload_length);
}

int main(void)
{
    static uint8_t buffer[32 << 10];
    WireDecoder *decoder = wire_decoder_new();
    uint8_t sync[WIRE_SYNC_BYTES];
    glob_t found;

    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    while (glob("/dev/vport*", 0, NULL, &found) != 0)
        usleep(1000);
    port = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
    wire_sync_encode(1, sync);
    feed(decoder, sync, sizeof sync);
    send_frame((const uint8_t *)"!", 1); /* here we are */
    for (;;) {
        ssize_t n = read(port, buffer, sizeof buffer);
        if (n > 0)
            feed(decoder, buffer, (size_t)n);
        else
            usleep(1000); /* nobody is at the other end yet */
    }
}
