/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/wire/wire.h"

enum {
    WINDOW = WIRE_WINDOW_BYTES,
    RESUME_ROOM = WINDOW / 8,
    TRIM_EVERY = 8 * WINDOW,
    /* On one processor, reading each page at once would mean a switch between the process and the agent for
     * each page. A process that writes whole pages usually writes more of them, so the stream then pauses. */
    BULK_BYTES = 4096,
    PAUSE_MS = 1,
};

static size_t room_left(const OutStream *stream)
{
    return WINDOW - (size_t)(stream->received - stream->acked);
}

/* Called when the ring is empty. Small outputs use the same few pages again and again; the pages that larger
 * outputs took are returned to the kernel, but not each time. */
static void ring_restart(OutStream *stream)
{
    stream->ring_start = stream->received;
    if (stream->received - stream->trimmed_at < TRIM_EVERY)
        return;
    madvise(stream->ring, WINDOW, MADV_DONTNEED);
    stream->trimmed_at = stream->received;
}

static void stream_end(OutStream *stream)
{
    watch_remove(&stream->watch);
    timer_stop(&stream->pause);
    if (stream->watch.fd >= 0)
        close(stream->watch.fd);
    stream->watch.fd = -1;
    stream->ended = true;
}

static void stream_pause_over(void *data)
{
    OutStream *stream = data;

    if (room_left(stream) > 0)
        stream_start(stream);
}

static void stream_pause(OutStream *stream)
{
    watch_remove(&stream->watch);
    stream->pause.call = stream_pause_over;
    stream->pause.data = stream;
    timer_start(&stream->pause, PAUSE_MS);
}

static size_t ring_at(const OutStream *stream, uint64_t offset)
{
    return (size_t)(offset - stream->ring_start) % WINDOW;
}

/* Reads into the free part of the ring, which wraps at most once. */
static ssize_t ring_read(OutStream *stream, size_t most)
{
    size_t at = ring_at(stream, stream->received);
    size_t first = most < WINDOW - at ? most : WINDOW - at;
    struct iovec parts[2] = {{.iov_base = stream->ring + at, .iov_len = first},
                             {.iov_base = stream->ring, .iov_len = most - first}};
    return readv(stream->watch.fd, parts, most > first ? 2 : 1);
}

static void stream_readable(void *data)
{
    OutStream *stream = data;
    size_t most = room_left(stream);

    if (most > stream->stop_at - stream->received)
        most = (size_t)(stream->stop_at - stream->received);
    ssize_t n = most > 0 ? ring_read(stream, most) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        stream->received += (uint64_t)n;
    else if (n < 0)
        stream->error = errno;
    if (n <= 0 || stream->received >= stream->stop_at) /* a terminal without users ends with EIO */
        stream_end(stream);
    else if (room_left(stream) == 0)
        watch_remove(&stream->watch);
    else if (n >= BULK_BYTES)
        stream_pause(stream);
}

bool stream_open(OutStream *stream, int fd)
{
    /* Mapped, so that a stream with little output takes few pages. */
    void *ring = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        return false;
    *stream = (OutStream){.watch = {.fd = fd, .call = stream_readable}, .ring = ring, .stop_at = UINT64_MAX};
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return true;
}

void stream_start(OutStream *stream)
{
    stream->watch.data = stream;
    if (stream->ring != NULL && !stream->ended && !watch_add(&stream->watch, EPOLLIN))
        stream_end(stream);
}

void stream_close(OutStream *stream)
{
    if (stream->ring == NULL)
        return;
    stream_end(stream);
    munmap(stream->ring, WINDOW);
    stream->ring = NULL;
}

bool stream_peek(const OutStream *stream, size_t max, const uint8_t **ret_data, size_t *ret_length,
                 bool *ret_end)
{
    if (stream->ring == NULL)
        return false;
    uint64_t waiting = stream->received - stream->sent;
    if (waiting == 0 && (!stream->ended || stream->end_sent))
        return false;

    size_t at = ring_at(stream, stream->sent);
    size_t length = waiting < max ? (size_t)waiting : max;
    if (length > WINDOW - at)
        length = WINDOW - at;
    *ret_data = stream->ring + at;
    *ret_length = length;
    *ret_end = stream->ended && length == waiting;
    return true;
}

void stream_sent(OutStream *stream, size_t length, bool end)
{
    stream->sent += length;
    stream->end_sent = end;
}

bool stream_is_finished(const OutStream *stream)
{
    return stream->ring == NULL || (stream->end_sent && stream->sent == stream->received);
}

void stream_acknowledge(OutStream *stream, uint64_t offset)
{
    if (stream->ring == NULL || offset <= stream->acked || offset > stream->sent)
        return;
    stream->acked = offset;
    if (stream->acked == stream->received)
        ring_restart(stream);
    if (!stream->ended && !stream->watch.active && !stream->pause.active && room_left(stream) >= RESUME_ROOM)
        stream_start(stream);
}

void stream_rewind(OutStream *stream)
{
    stream->sent = stream->acked;
    stream->end_sent = false;
}

void stream_begin_anew(OutStream *stream)
{
    if (stream->ring == NULL)
        return;
    watch_remove(&stream->watch);
    timer_stop(&stream->pause);
    while (!stream->ended) {
        ssize_t n = read(stream->watch.fd, stream->ring, WINDOW);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0)
            stream_end(stream);
    }
    madvise(stream->ring, WINDOW, MADV_DONTNEED);
    stream->ring_start = stream->trimmed_at = 0;
    stream->acked = stream->sent = stream->received = 0;
    stream->end_sent = false;
}

void stream_stop(OutStream *stream)
{
    if (stream->ring == NULL || stream->ended)
        return;
    int waiting = 0;
    ioctl(stream->watch.fd, FIONREAD, &waiting);
    stream->stop_at = stream->received + (uint64_t)(waiting > 0 ? waiting : 0);
    if (waiting <= 0)
        stream_end(stream);
}

void stream_hang_up(OutStream *stream)
{
    if (stream->ring != NULL && !stream->ended)
        stream_end(stream);
}
