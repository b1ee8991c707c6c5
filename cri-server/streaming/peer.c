/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/peer.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <wslay/wslay.h>

#include "common/byte_ring.h"
#include "common/error.h"
#include "common/log.h"
#include "common/source.h"
#include "cri-server/streaming/spdy.h"

enum {
    OUT_BYTES = 256 << 10, /* bytes of streams that may wait to be written */
    /* Replies to pings, refusals and window updates count as well. From this number of waiting bytes on, the
     * client is not read, so that it gets no more replies until it has read those. Bytes of streams alone do
     * not reach it, because a client may well write for a while without reading. */
    OUT_STOP_BYTES = 2 * OUT_BYTES,
    /* What a client sends at once is a message and what is read with it, and its replies are at most about
     * twice as long. A client that reaches this limit is disconnected. */
    OUT_LIMIT_BYTES = 8 << 20,
    READ_BYTES = PEER_BURST_BYTES - PEER_MESSAGE_BYTES, /* more than TLS_RECORD_BYTES */
    LINGER_MS = 5000,                                   /* time for the client to close after peer_finish() */
    CHANNEL_CLOSE = 255,                                /* v5.channel.k8s.io */
};

struct Peer {
    gint references;
    PeerConfig config;
    PeerEvents events;
    gpointer data;
    GSource *source;
    gpointer fd_tag;
    GSource *timer;
    gint64 last_use_us;

    Spdy *spdy;
    wslay_event_context_ptr websocket;
    const guint8 *in; /* the bytes that wslay reads */
    gsize n_in;

    ByteRing out;
    gboolean was_full;
    gboolean held;
    gboolean finishing; /* received bytes are ignored, and nothing new is sent */
    gboolean shut;      /* the server's half of the socket is closed */
    gboolean is_over;
};

static Peer *peer_ref(Peer *peer)
{
    peer->references++;
    return peer;
}

static void peer_unref(Peer *peer)
{
    if (--peer->references > 0)
        return;
    spdy_free(peer->spdy);
    if (peer->websocket != NULL)
        wslay_event_context_free(peer->websocket);
    byte_ring_clear(&peer->out);
    client_socket_free(peer->config.socket);
    g_free(peer);
}

static gboolean announce_gone(gpointer data)
{
    Peer *peer = data;

    peer->events.gone(peer->data);
    peer_unref(peer);
    return G_SOURCE_REMOVE;
}

void peer_drop(Peer *peer)
{
    GSource *idle;

    if (peer->is_over)
        return;
    peer->is_over = TRUE;
    source_drop(&peer->source);
    source_drop(&peer->timer);
    idle = g_idle_source_new();
    g_source_set_priority(idle, G_PRIORITY_DEFAULT);
    g_source_set_callback(idle, announce_gone, peer, NULL);
    g_source_attach(idle, peer->config.context);
    g_source_unref(idle);
}

/* ---- the socket ---- */

static gboolean peer_wants_input(const Peer *peer)
{
    return peer->finishing || (!peer->held && peer->out.length < OUT_STOP_BYTES);
}

static void peer_update_events(Peer *peer)
{
    gboolean writes = peer->out.length > 0 || (peer->finishing && !peer->shut);

    if (peer->source != NULL)
        g_source_modify_unix_fd(peer->source, peer->fd_tag,
                                client_socket_condition(peer->config.socket, peer_wants_input(peer), writes));
}

static void peer_flush(Peer *peer)
{
    const guint8 *bytes = NULL;

    while (!peer->is_over && peer->out.length > 0) {
        gsize length = byte_ring_peek(&peer->out, 0, &bytes);
        gssize n = client_socket_write(peer->config.socket, bytes, length);

        if (n < 0 && errno != EAGAIN) {
            peer_drop(peer);
            return;
        }
        if (n <= 0)
            break;
        byte_ring_skip(&peer->out, (gsize)n);
        peer->last_use_us = g_get_monotonic_time();
    }
    if (peer->out.length == 0 && peer->finishing && !peer->shut)
        peer->shut = client_socket_shutdown(peer->config.socket);
    peer_update_events(peer);
}

static void peer_append_output(Peer *peer, const void *bytes, gsize length)
{
    if (!peer->is_over && !peer->shut && !byte_ring_push(&peer->out, bytes, length))
        peer_drop(peer);
}

/* ---- WebSocket ---- */

static ssize_t websocket_read(wslay_event_context_ptr context, uint8_t *buffer, size_t room, int flags,
                              void *data)
{
    Peer *peer = data;
    gsize length = MIN(room, peer->n_in);

    (void)flags;
    if (length == 0) {
        wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buffer, peer->in, length);
    peer->in += length;
    peer->n_in -= length;
    return (ssize_t)length;
}

static ssize_t websocket_write(wslay_event_context_ptr context, const uint8_t *bytes, size_t length,
                               int flags, void *data)
{
    (void)context;
    (void)flags;
    peer_append_output(data, bytes, length);
    return (ssize_t)length;
}

static void send_websocket_message(Peer *peer, uint8_t opcode, const guint8 *bytes, gsize length)
{
    const struct wslay_event_msg message = {opcode, bytes, length};

    if (wslay_event_queue_msg(peer->websocket, &message) == 0)
        wslay_event_send(peer->websocket);
}

static void feed_spdy(Peer *peer, const guint8 *bytes, gsize length)
{
    g_autoptr(GError) error = NULL;

    if (spdy_feed(peer->spdy, bytes, length, &error))
        return;
    log_debug(LOG_NO_FIELDS, "a streaming client violated SPDY: %s", error->message);
    peer_finish(peer);
}

/* The first byte of a message is the channel's number. In the base64 protocols it is a digit, and the rest
 * is base64 text. */
static void deliver_channel_message(Peer *peer, const guint8 *bytes, gsize length)
{
    g_autofree guint8 *decoded = NULL;
    guint32 channel;

    if (length == 0)
        return;
    channel = bytes[0];
    bytes++;
    length--;
    if (peer->config.kind == PEER_CHANNELS_BASE64) {
        g_autofree char *text = g_strndup((const char *)bytes, length);

        channel -= '0';
        decoded = g_base64_decode(text, &length);
        bytes = decoded;
    }
    if (channel == CHANNEL_CLOSE && peer->config.half_closes) {
        if (length > 0)
            peer->events.ended(bytes[0], FALSE, peer->data);
    } else if (length > 0) {
        peer->events.received(channel, bytes, length, peer->data);
    }
}

static void websocket_message(wslay_event_context_ptr context,
                              const struct wslay_event_on_msg_recv_arg *message, void *data)
{
    Peer *peer = data;

    (void)context;
    if (peer->finishing || peer->is_over || wslay_is_ctrl_frame(message->opcode))
        return;
    if (peer->config.kind == PEER_TUNNEL)
        feed_spdy(peer, message->msg, message->msg_length);
    else
        deliver_channel_message(peer, message->msg, message->msg_length);
}

static void feed_websocket(Peer *peer, const guint8 *bytes, gsize length)
{
    peer->in = bytes;
    peer->n_in = length;
    while (peer->n_in > 0 && !peer->is_over) {
        if (wslay_event_recv(peer->websocket) != 0) {
            peer_drop(peer);
            return;
        }
        if (!wslay_event_get_read_enabled(peer->websocket))
            break;
    }
    peer->n_in = 0;
    wslay_event_send(peer->websocket); /* sends pongs, and the answer to a close */
    if (wslay_event_get_close_received(peer->websocket))
        peer_finish(peer);
}

static void websocket_open(Peer *peer)
{
    const struct wslay_event_callbacks callbacks = {.recv_callback = websocket_read,
                                                    .send_callback = websocket_write,
                                                    .on_msg_recv_callback = websocket_message};

    if (wslay_event_context_server_init(&peer->websocket, &callbacks, peer) != 0)
        g_error("out of memory");
    wslay_event_config_set_max_recv_msg_length(peer->websocket, PEER_MESSAGE_BYTES);
}

/* ---- SPDY ---- */

static gboolean on_spdy_opened(guint32 stream, GHashTable *headers, gpointer data)
{
    Peer *peer = data;

    return !peer->finishing && !peer->is_over && peer->events.opened(stream, headers, peer->data);
}

static void on_spdy_received(guint32 stream, const guint8 *bytes, gsize length, gpointer data)
{
    Peer *peer = data;

    if (!peer->finishing && !peer->is_over)
        peer->events.received(stream, bytes, length, peer->data);
}

static void on_spdy_ended(guint32 stream, gboolean reset, gpointer data)
{
    Peer *peer = data;

    if (!peer->finishing && !peer->is_over)
        peer->events.ended(stream, reset, peer->data);
}

static void on_spdy_output(const guint8 *bytes, gsize length, gpointer data)
{
    Peer *peer = data;

    if (peer->config.kind == PEER_TUNNEL)
        send_websocket_message(peer, WSLAY_BINARY_FRAME, bytes, length);
    else
        peer_append_output(peer, bytes, length);
}

static const SpdyEvents spdy_events = {
    .opened = on_spdy_opened, .received = on_spdy_received, .ended = on_spdy_ended, .output = on_spdy_output};

/* ---- reading and writing ---- */

static void peer_feed(Peer *peer, const guint8 *bytes, gsize length)
{
    if (peer->websocket != NULL)
        feed_websocket(peer, bytes, length);
    else if (!peer->finishing)
        feed_spdy(peer, bytes, length);
}

static void peer_read_socket(Peer *peer)
{
    guint8 buffer[READ_BYTES];
    gssize n = client_socket_read(peer->config.socket, buffer, sizeof buffer);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        peer_drop(peer);
        return;
    }
    if (!peer->finishing)
        peer->last_use_us = g_get_monotonic_time();
    peer_feed(peer, buffer, (gsize)n);
}

static gboolean on_socket_ready(GSource *source, GSourceFunc callback, gpointer data)
{
    Peer *peer = *(Peer **)(source + 1);
    GIOCondition ready = g_source_query_unix_fd(source, peer->fd_tag);

    (void)callback;
    (void)data;
    peer_ref(peer);
    if (peer_wants_input(peer) && (ready & client_socket_condition(peer->config.socket, TRUE, FALSE)) != 0)
        peer_read_socket(peer);
    else if ((ready & ~(guint)(G_IO_IN | G_IO_OUT)) != 0 && !peer_wants_input(peer))
        peer_drop(peer); /* the client has disconnected, and its remaining bytes will not be read */
    peer_flush(peer);
    if (!peer->is_over && peer->was_full && peer->out.length < OUT_BYTES / 2) {
        peer->was_full = FALSE;
        peer->events.writable(peer->data);
        peer_flush(peer);
    }
    peer_unref(peer);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs peer_source_funcs = {.dispatch = on_socket_ready};

static gboolean on_idle_timer(gpointer data)
{
    Peer *peer = data;
    gint64 limit_ms = peer->finishing ? LINGER_MS : peer->config.idle_ms;

    if (g_get_monotonic_time() - peer->last_use_us >= limit_ms * 1000) {
        peer_drop(peer);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

static void peer_start_timer(Peer *peer, gint64 interval_ms)
{
    source_drop(&peer->timer);
    peer->timer = g_timeout_source_new((guint)CLAMP(interval_ms, 50, 60000));
    g_source_set_callback(peer->timer, on_idle_timer, peer, NULL);
    g_source_attach(peer->timer, peer->config.context);
}

void peer_start(const PeerConfig *config, const guint8 *first, gsize n_first, const PeerEvents *events,
                gpointer data, Peer **ret_peer)
{
    Peer *peer = g_new0(Peer, 1);

    peer->references = 1;
    peer->config = *config;
    peer->events = *events;
    peer->data = data;
    byte_ring_init(&peer->out, OUT_LIMIT_BYTES);
    peer->last_use_us = g_get_monotonic_time();
    if (config->kind == PEER_SPDY || config->kind == PEER_TUNNEL)
        peer->spdy = spdy_new(&spdy_events, peer);
    if (config->kind != PEER_SPDY)
        websocket_open(peer);
    peer->source = g_source_new(&peer_source_funcs, sizeof(GSource) + sizeof(Peer *));
    *(Peer **)(peer->source + 1) = peer;
    peer->fd_tag = g_source_add_unix_fd(peer->source, client_socket_fd(config->socket), G_IO_IN);
    g_source_attach(peer->source, config->context);
    peer_start_timer(peer, config->idle_ms / 4);
    *ret_peer = peer;
    peer_ref(peer);
    if (config->greeting != NULL)
        peer_append_output(peer, config->greeting, strlen(config->greeting));
    if (n_first > 0)
        peer_feed(peer, first, n_first);
    peer_flush(peer);
    peer_unref(peer);
}

gsize peer_room(Peer *peer, guint32 stream)
{
    gsize room = peer->out.length < OUT_BYTES ? OUT_BYTES - peer->out.length : 0;

    if (peer->is_over || peer->finishing)
        return 0;
    if (peer->spdy != NULL)
        room = MIN(room, spdy_room(peer->spdy, stream));
    if (room == 0)
        peer->was_full = TRUE;
    return room;
}

static void send_channel_message(Peer *peer, guint32 channel, const void *bytes, gsize length)
{
    if (peer->config.kind == PEER_CHANNELS_BASE64) {
        g_autofree char *text = length > 0 ? g_base64_encode(bytes, length) : g_strdup("");
        g_autofree char *message = g_strdup_printf("%c%s", (char)('0' + channel), text);

        send_websocket_message(peer, WSLAY_TEXT_FRAME, (const guint8 *)message, strlen(message));
    } else {
        g_autofree guint8 *message = g_malloc(1 + length);

        message[0] = (guint8)channel;
        if (length > 0)
            memcpy(message + 1, bytes, length);
        send_websocket_message(peer, WSLAY_BINARY_FRAME, message, 1 + length);
    }
}

void peer_send(Peer *peer, guint32 stream, const void *bytes, gsize length)
{
    if (peer->is_over || peer->finishing)
        return;
    if (peer->spdy != NULL)
        spdy_send(peer->spdy, stream, bytes, length);
    else
        send_channel_message(peer, stream, bytes, length);
    peer_flush(peer);
}

void peer_end(Peer *peer, guint32 stream)
{
    if (peer->is_over || peer->finishing)
        return;
    if (peer->spdy != NULL)
        spdy_end(peer->spdy, stream);
    peer_flush(peer);
}

void peer_took(Peer *peer, guint32 stream, gsize length)
{
    if (peer->is_over || peer->finishing || peer->spdy == NULL)
        return;
    spdy_took(peer->spdy, stream, length);
    peer_flush(peer);
}

void peer_hold(Peer *peer, gboolean hold)
{
    peer->held = hold && (peer->spdy == NULL || !spdy_keeps_windows(peer->spdy));
    peer_update_events(peer);
}

void peer_finish(Peer *peer)
{
    if (peer->is_over || peer->finishing)
        return;
    if (peer->spdy != NULL)
        spdy_goaway(peer->spdy);
    if (peer->websocket != NULL && !wslay_event_get_close_sent(peer->websocket)) {
        wslay_event_queue_close(peer->websocket, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
        wslay_event_send(peer->websocket);
    }
    peer->finishing = TRUE;
    peer->last_use_us = g_get_monotonic_time();
    peer_start_timer(peer, LINGER_MS / 4);
    peer_flush(peer);
}
