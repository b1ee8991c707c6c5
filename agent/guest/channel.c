/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/channel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guest/fault.h"
#include "agent/guest/loop.h"
#include "agent/guest/sysfile.h"
#include "agent/wire/wire.h"

enum {
    QUEUE_MAX_BYTES = 4 << 20, /* while more is queued nothing is read, so a daemon that never reads cannot
                                  use up the memory */
    SOURCE_ROOM = 32 << 10,
    READ_ROOM = 32 << 10,
};

typedef struct Frame {
    struct Frame *next;
    size_t length;
    uint8_t bytes[]; /* header and payload */
} Frame;

static struct {
    const ChannelUser *user;
    Watch watch, listener;
    Timer look;
    WireDecoder *decoder;
    bool synced, greeted, reading_held, was_connected;
    uint32_t daemon_protocol; /* the protocol version that the daemon speaks; 0: not known yet */
    uint64_t connection;
    Frame *first, **last;
    size_t queued_bytes;
    uint8_t out[SOURCE_ROOM]; /* being written: a sync or a message of the source, */
    Frame *frame;             /* or this queued message */
    const uint8_t *rest;
    size_t rest_length;
} channel = {.last = &channel.first};

static void queue_drop(void)
{
    while (channel.first != NULL) {
        Frame *frame = channel.first;
        channel.first = frame->next;
        free(frame);
    }
    channel.last = &channel.first;
    channel.queued_bytes = 0;
    free(channel.frame);
    channel.frame = NULL;
    channel.rest_length = 0;
}

/* The sync is sent first, right behind the frame that the last connection was cut in; the daemon discards
 * that frame while it looks for the sync. */
static void channel_begin_connection(uint64_t nonce)
{
    queue_drop();
    channel.connection++;
    channel.synced = true;
    channel.greeted = false;
    channel.daemon_protocol = 0;
    wire_sync_encode(nonce, channel.out);
    channel.rest = channel.out;
    channel.rest_length = WIRE_SYNC_BYTES;
    channel.user->connected();
}

static void channel_end_connection(void)
{
    queue_drop();
    wire_decoder_reset(channel.decoder);
    channel.connection++;
    channel.synced = channel.greeted = false;
}

uint64_t channel_connection(void)
{
    return channel.connection;
}

void channel_greeted(uint32_t daemon_protocol)
{
    channel.greeted = true;
    channel.daemon_protocol = daemon_protocol;
}

bool channel_is_drained(void)
{
    return channel.rest_length == 0 && channel.first == NULL;
}

void channel_send(const FromGuest *message)
{
    size_t payload_length = crivirt__agent__v1__from_guest__get_packed_size(message);
    if (!channel.synced || payload_length == 0 || payload_length > WIRE_MAX_FRAME_BYTES)
        return;
    Frame *frame = malloc(sizeof *frame + WIRE_HEADER_BYTES + payload_length);
    if (frame == NULL) {
        complain("a message to the daemon is dropped: out of memory");
        return;
    }
    uint8_t *payload = frame->bytes + WIRE_HEADER_BYTES;
    crivirt__agent__v1__from_guest__pack(message, payload);
    wire_header_encode(payload, payload_length, channel.daemon_protocol, frame->bytes);
    frame->length = WIRE_HEADER_BYTES + payload_length;
    frame->next = NULL;
    *channel.last = frame;
    channel.last = &frame->next;
    channel.queued_bytes += frame->length;
}

void channel_notice(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);

    Notice notice = CRIVIRT__AGENT__V1__NOTICE__INIT;
    notice.message = text;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_NOTICE;
    message.notice = &notice;
    channel_send(&message);
}

static bool take_queued(void)
{
    free(channel.frame);
    channel.frame = channel.first;
    if (channel.frame == NULL)
        return false;
    channel.first = channel.frame->next;
    if (channel.first == NULL)
        channel.last = &channel.first;
    channel.queued_bytes -= channel.frame->length;
    channel.rest = channel.frame->bytes;
    channel.rest_length = channel.frame->length;
    return true;
}

static bool take_from_source(void)
{
    if (!channel.greeted)
        return false;
    uint8_t *payload = channel.out + WIRE_HEADER_BYTES;
    size_t length = channel.user->next(payload, sizeof channel.out - WIRE_HEADER_BYTES);
    if (length == 0)
        return false;
    wire_header_encode(payload, length, channel.daemon_protocol, channel.out);
    channel.rest = channel.out;
    channel.rest_length = WIRE_HEADER_BYTES + length;
    return true;
}

static void channel_read(void);

void channel_flush(void)
{
    if (channel.decoder == NULL)
        return;
    while (channel.synced && (channel.rest_length > 0 || take_queued() || take_from_source())) {
        ssize_t n = write(channel.watch.fd, channel.rest, channel.rest_length);
        if (n <= 0)
            return; /* epoll reports when there is room again, or when the daemon has gone */
        channel.rest += n;
        channel.rest_length -= (size_t)n;
        if (channel.reading_held && channel.queued_bytes <= QUEUE_MAX_BYTES / 2)
            channel_read();
    }
}

static void channel_decode(const uint8_t *data, size_t length)
{
    while (length > 0) {
        WireItem item;
        switch (wire_decoder_next(channel.decoder, &data, &length, &item)) {
        case WIRE_SYNC:
            channel_begin_connection(item.nonce);
            break;
        case WIRE_FRAME:
            channel.user->received(item.payload, item.payload_length);
            break;
        case WIRE_BAD:
            complain("a frame from the daemon has a bad length or checksum; the connection ends");
            channel_end_connection();
            break;
        case WIRE_MORE:
            break;
        }
    }
}

static void channel_read(void)
{
    static uint8_t data[READ_ROOM];

    channel.reading_held = false;
    while (channel.queued_bytes <= QUEUE_MAX_BYTES) {
        ssize_t n = read(channel.watch.fd, data, sizeof data);
        if (n <= 0)
            return;
        channel_decode(data, (size_t)n);
    }
    channel.reading_held = true;
}

/* Edge-triggered: an event comes when there is data or room, and when the daemon connects or disconnects. A
 * disconnection is looked for before reading, because a new daemon's sync may be readable before its
 * connection is announced. */
static void channel_port_event(void *data)
{
    struct pollfd port = {.fd = channel.watch.fd, .events = POLLIN};
    bool connected = poll(&port, 1, 0) >= 0 && (port.revents & POLLHUP) == 0;
    if (!connected && channel.was_connected)
        channel_end_connection();
    channel.was_connected = connected;
    channel_read();
}

static void channel_use_port(int fd)
{
    channel.decoder = wire_decoder_new();
    channel.watch = (Watch){.fd = fd, .call = channel_port_event};
    if (channel.decoder == NULL || !watch_add(&channel.watch, EPOLLIN | EPOLLOUT | EPOLLET))
        complain("cannot watch the agent port: %s", strerror(errno));
    channel_port_event(NULL);
}

/* ---- a listening socket instead of a port ---- */

static void channel_socket_close(void)
{
    channel_end_connection();
    watch_remove(&channel.watch);
    close(channel.watch.fd);
    channel.watch.fd = -1;
}

static void channel_socket_event(void *data)
{
    struct pollfd peer = {.fd = channel.watch.fd, .events = POLLIN};
    channel_read();
    if (poll(&peer, 1, 0) > 0 && (peer.revents & (POLLHUP | POLLERR)) != 0)
        channel_socket_close();
}

static void channel_socket_accept(void *data)
{
    int fd = accept4(channel.listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (channel.watch.fd >= 0)
        channel_socket_close();
    channel.watch = (Watch){.fd = fd, .call = channel_socket_event};
    if (!watch_add(&channel.watch, EPOLLIN | EPOLLOUT | EPOLLET))
        complain("cannot watch the daemon's connection: %s", strerror(errno));
    channel_read();
}

void channel_listen(const ChannelUser *user, int listener)
{
    channel.user = user;
    channel.decoder = wire_decoder_new();
    channel.watch.fd = -1;
    channel.listener = (Watch){.fd = listener, .call = channel_socket_accept};
    if (channel.decoder == NULL || !watch_add(&channel.listener, EPOLLIN))
        complain("cannot watch the agent's socket: %s", strerror(errno));
}

/* ---- the port ---- */

/* Opens the device node of the port whose name in sysfs is WIRE_PORT_NAME. Return: -1 when there is none. */
static int channel_open_port(void)
{
    DIR *ports = opendir("/sys/class/virtio-ports");
    if (ports == NULL)
        return -1;
    int fd = -1;
    for (struct dirent *entry = readdir(ports); entry != NULL && fd < 0; entry = readdir(ports)) {
        char path[sizeof "/sys/class/virtio-ports//name" + sizeof entry->d_name], name[64];
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        if (entry->d_name[0] == '.' || !sysfile_read(path, name, sizeof name) ||
            strcmp(name, WIRE_PORT_NAME) != 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    closedir(ports);
    return fd;
}

static void channel_look_for_port(void *data)
{
    int fd = channel_open_port();
    if (fd >= 0)
        channel_use_port(fd);
    else
        timer_start(&channel.look, 1);
}

void channel_open(const ChannelUser *user)
{
    channel.user = user;
    channel.look.call = channel_look_for_port;
    channel_look_for_port(NULL);
}
