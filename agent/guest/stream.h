/* SPDX-License-Identifier: Apache-2.0 */
/* One output stream of a process. It is read from a pipe or terminal into a window of WIRE_WINDOW_BYTES, kept
 * until the daemon acknowledges it, and sent again after a reconnect. Offsets count the stream's bytes from
 * its start.
 *
 * The stream is not read while its window is (nearly) full, so a process that writes faster than the daemon
 * stores waits in its write(), as with any full pipe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/loop.h"

typedef struct {
    Watch watch; /* of the source; fd -1: none, or its end has been reached */
    Timer pause; /* while it runs the source is not read, so that more data gathers there */
    uint8_t *ring;
    uint64_t ring_start; /* the offset of the first byte of the ring */
    uint64_t trimmed_at;
    uint64_t acked, sent, received; /* acked <= sent <= received <= acked + window */
    uint64_t stop_at;               /* reading ends there; UINT64_MAX: at the source's end */
    int error;                      /* errno of the read that ended it; a terminal ends with EIO */
    bool ended;                     /* nothing more is read */
    bool end_sent;
} OutStream;

/* Opens the stream and takes fd; nothing is read before stream_start(). A stream that was never opened sends
 * no end. Return: false when out of memory; fd is then still the caller's. */
bool stream_open(OutStream *stream, int fd);
void stream_start(OutStream *stream);
void stream_close(OutStream *stream);

/* Finds what is to be sent: at most max contiguous bytes; *ret_end is true when the stream ends after them.
 * Return: false when there is nothing. The caller calls stream_sent() when it has sent them. */
bool stream_peek(const OutStream *stream, size_t max, const uint8_t **ret_data, size_t *ret_length,
                 bool *ret_end);
void stream_sent(OutStream *stream, size_t length, bool end);
/* Return: true when everything has been sent, the end included. */
bool stream_is_finished(const OutStream *stream);

/* Frees the window up to offset. An offset that was never sent is ignored. */
void stream_acknowledge(OutStream *stream, uint64_t offset);
/* Sends again what was not acknowledged. */
void stream_rewind(OutStream *stream);
/* Drops what has been read, and what the source has now; offsets count from 0 again. Nothing is read until
 * stream_start(). For a source that nothing writes to at present. */
void stream_begin_anew(OutStream *stream);
/* Closes the source. What has been read is still sent. */
void stream_hang_up(OutStream *stream);
/* Ends the stream after what the source has now, although a child of the process may still have it open. */
void stream_stop(OutStream *stream);
