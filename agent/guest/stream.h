/* One output stream of a process: read from a pipe or terminal into a window of WIRE_WINDOW_BYTES, kept until
 * acknowledged, sent again after a reconnect. Offsets count the stream's bytes from its start.
 *
 * Not read while the window is (nearly) full, so a process that writes faster than the daemon stores waits in
 * its write(), as it would with any full pipe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/loop.h"

typedef struct {
    Watch watch; /* fd: -1 when there is none or its end has been reached */
    Timer rest;  /* while it runs the source is left alone, so that more gathers there */
    uint8_t *ring;
    uint64_t ring_start; /* the offset of its first byte */
    uint64_t trimmed_at;
    uint64_t acked, sent, received; /* acked <= sent <= received <= acked + window */
    uint64_t stop_at;               /* reading ends there; UINT64_MAX: at the source's end */
    int error;                      /* errno that ended it; a terminal ends with EIO */
    bool ended;                     /* nothing more comes */
    bool end_sent;
} OutStream;

/* Takes fd, which must not block; nothing is read before stream_start(). A stream never opened has no end to
 * send either. False when out of memory or descriptors. */
bool stream_open(OutStream *stream, int fd);
void stream_start(OutStream *stream);
void stream_close(OutStream *stream);

/* What waits to be sent: at most max bytes, contiguous; *ret_end when the stream ends after them. False when
 * there is nothing. stream_sent() says that it has been. */
bool stream_peek(const OutStream *stream, size_t max, const uint8_t **ret_data, size_t *ret_length,
                 bool *ret_end);
void stream_sent(OutStream *stream, size_t length, bool end);
/* Everything that can ever be sent has been. */
bool stream_is_finished(const OutStream *stream);

/* An offset that was never sent is ignored. */
void stream_acknowledge(OutStream *stream, uint64_t offset);
/* To a new daemon: from what was not acknowledged. */
void stream_rewind(OutStream *stream);
/* Nobody wants more of it: the source is closed, what has been read is still sent. */
void stream_hang_up(OutStream *stream);
/* Its process has been gone for long enough: reads what the source holds now, and no more. */
void stream_stop(OutStream *stream);
