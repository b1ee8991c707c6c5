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
    QUEUE_MAX_BYTES =
        4 << 20, /* while more is queued nothing is read: a peer that never reads cannot fill us */
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
    uint32_t daemon_protocol; /* 0: not known yet */
    uint64_t connection;
    Frame *first, **last;
    size_t queued_bytes;
    uint8_t out[SOURCE_ROOM]; /* what is being written: a sync or a message of the source */
    Frame *frame;             /* or a queued message */
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

/* The sync goes out first, right behind whatever frame the last connection was cut in: the daemon throws that
 * away while it looks for the sync. */
static void begin_connection(uint64_t nonce)
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

static void end_connection(void)
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
        complain("out of memory for a message");
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

static void read_frames(void);

void channel_flush(void)
{
    if (channel.decoder == NULL)
        return;
    while (channel.synced && (channel.rest_length > 0 || take_queued() || take_from_source())) {
        ssize_t n = write(channel.watch.fd, channel.rest, channel.rest_length);
        if (n <= 0)
            return; /* the port says when there is room again, or that the daemon went away */
        channel.rest += n;
        channel.rest_length -= (size_t)n;
        if (channel.reading_held && channel.queued_bytes <= QUEUE_MAX_BYTES / 2)
            read_frames();
    }
}

static void decode(const uint8_t *data, size_t length)
{
    while (length > 0) {
        WireItem item;
        switch (wire_decoder_next(channel.decoder, &data, &length, &item)) {
        case WIRE_SYNC:
            begin_connection(item.nonce);
            break;
        case WIRE_FRAME:
            channel.user->received(item.payload, item.payload_length);
            break;
        case WIRE_BAD:
            complain("a frame from the daemon is damaged");
            end_connection();
            break;
        case WIRE_MORE:
            break;
        }
    }
}

static void read_frames(void)
{
    static uint8_t data[READ_ROOM];

    channel.reading_held = false;
    while (channel.queued_bytes <= QUEUE_MAX_BYTES) {
        ssize_t n = read(channel.watch.fd, data, sizeof data);
        if (n <= 0)
            return;
        decode(data, (size_t)n);
    }
    channel.reading_held = true;
}

/* Edge-triggered: the kernel wakes us when data comes, room is made, or the daemon comes or goes. Whether it
 * is gone is asked before reading: a new daemon's sync may be readable before its connection is announced. */
static void port_event(void *data)
{
    struct pollfd port = {.fd = channel.watch.fd, .events = POLLIN};
    bool connected = poll(&port, 1, 0) >= 0 && (port.revents & POLLHUP) == 0;
    if (!connected && channel.was_connected)
        end_connection();
    channel.was_connected = connected;
    read_frames();
}

static void use_port(int fd)
{
    channel.decoder = wire_decoder_new();
    channel.watch = (Watch){.fd = fd, .call = port_event};
    if (channel.decoder == NULL || !watch_add(&channel.watch, EPOLLIN | EPOLLOUT | EPOLLET))
        complain("watching the agent port: %s", strerror(errno));
    port_event(NULL);
}

/* ---- connections instead of a port ---- */

static void socket_close(void)
{
    end_connection();
    watch_remove(&channel.watch);
    close(channel.watch.fd);
    channel.watch.fd = -1;
}

static void socket_event(void *data)
{
    struct pollfd peer = {.fd = channel.watch.fd, .events = POLLIN};
    read_frames();
    if (poll(&peer, 1, 0) > 0 && (peer.revents & (POLLHUP | POLLERR)) != 0)
        socket_close();
}

static void socket_accept(void *data)
{
    int fd = accept4(channel.listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (channel.watch.fd >= 0)
        socket_close();
    channel.watch = (Watch){.fd = fd, .call = socket_event};
    if (!watch_add(&channel.watch, EPOLLIN | EPOLLOUT | EPOLLET))
        complain("watching the daemon's connection: %s", strerror(errno));
    read_frames();
}

void channel_listen(const ChannelUser *user, int listener)
{
    channel.user = user;
    channel.decoder = wire_decoder_new();
    channel.watch.fd = -1;
    channel.listener = (Watch){.fd = listener, .call = socket_accept};
    if (channel.decoder == NULL || !watch_add(&channel.listener, EPOLLIN))
        complain("watching the socket: %s", strerror(errno));
}

/* ---- the port ---- */

/* The port's device node, by the name that its sysfs directory tells; -1 when there is none. */
static int open_port(void)
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

static void look_for_port(void *data)
{
    int fd = open_port();
    if (fd >= 0)
        use_port(fd);
    else
        timer_start(&channel.look, 1);
}

void channel_open(const ChannelUser *user)
{
    channel.user = user;
    channel.look.call = look_for_port;
    look_for_port(NULL);
}
