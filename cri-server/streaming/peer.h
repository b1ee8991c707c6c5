/* SPDX-License-Identifier: Apache-2.0 */
/* One upgraded client connection with any of the protocols: numbered streams of bytes in both directions.
 *
 * Over SPDY, or SPDY inside WebSocket messages, the client opens streams with headers. Over WebSocket a
 * stream is a channel, whose number is the first byte of each message; all channels exist from the start,
 * and the client can half-close them with v5.channel.k8s.io.
 *
 * Flow control: a client's bytes are read as fast as the owner allows by peer_took() and peer_hold(). Bytes
 * that the client has not read are bounded: those of streams by peer_room(), and the replies to what the
 * client sends by not reading it while too many bytes wait for it.
 *
 * Threads: the thread of its context, on which all events are called. No function blocks.
 */
#pragma once

#include "cri-server/streaming/client_socket.h"

typedef struct Peer Peer;

enum {
    PEER_MESSAGE_BYTES = 1 << 20, /* the largest WebSocket message; common clients send 32 KiB */
    /* The most bytes that a client's streams receive after peer_hold(): what was read at once, in which a
     * message may end. */
    PEER_BURST_BYTES = PEER_MESSAGE_BYTES + (64 << 10),
};

/* PEER_TUNNEL: SPDY inside WebSocket messages. */
typedef enum { PEER_SPDY, PEER_TUNNEL, PEER_CHANNELS, PEER_CHANNELS_BASE64 } PeerKind;

typedef struct {
    /* The client opened a stream. Not called for WebSocket channels. Return: FALSE to refuse the stream. */
    gboolean (*opened)(guint32 stream, GHashTable *headers, gpointer data);
    /* Bytes arrived on a stream; borrowed. */
    void (*received)(guint32 stream, const guint8 *bytes, gsize length, gpointer data);
    /* The client sends no more bytes on the stream; with reset it does not read it any more either. */
    void (*ended)(guint32 stream, gboolean reset, gpointer data);
    /* peer_room() was 0 for some stream, and the connection has room again. */
    void (*writable)(gpointer data);
    /* The connection is over, and the Peer must not be used any more. This is the last event. */
    void (*gone)(gpointer data);
} PeerEvents;

typedef struct {
    GMainContext *context;
    ClientSocket *socket; /* owned */
    const char *greeting; /* bytes to send first, the answer to the upgrade; NULL: none */
    PeerKind kind;
    gboolean half_closes; /* v5.channel.k8s.io */
    gint64 idle_ms;       /* time without a byte in either direction after which the connection is closed */
} PeerConfig;

/* Starts serving a connection. first: bytes that the client sent after its request. When there are any,
 * events may be called before this function returns; *ret_peer is set before them. Ownership: takes
 * config->socket; the Peer frees itself after the event gone. Threads: the context's. */
void peer_start(const PeerConfig *config, const guint8 *first, gsize n_first, const PeerEvents *events,
                gpointer data, Peer **ret_peer);

/* Return: the number of bytes that may be sent on a stream now; 0 for a closed stream. The event writable
 * reports that there is room again. */
gsize peer_room(Peer *peer, guint32 stream);
/* Sends bytes on a stream. length: at most peer_room(); 0 sends an empty message, which shows a WebSocket
 * client that the channel exists. */
void peer_send(Peer *peer, guint32 stream, const void *bytes, gsize length);
/* Half-closes the stream. Does nothing to WebSocket channels, which only clients can close. */
void peer_end(Peer *peer, guint32 stream);
/* Reports that the owner has used this many of the bytes received on a stream, so that the client may send
 * more. */
void peer_took(Peer *peer, guint32 stream, gsize length);
/* Stops or resumes reading from the client. It does nothing for a client that honours SPDY windows, because
 * those limit it. */
void peer_hold(Peer *peer, gboolean hold);
/* Closes the connection gracefully: bytes sent before still arrive, and received bytes are ignored. The
 * event gone follows. */
void peer_finish(Peer *peer);
/* Ends the connection at once. The event gone follows after this call. */
void peer_drop(Peer *peer);
