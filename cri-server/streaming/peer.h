/* SPDX-License-Identifier: Apache-2.0 */
/* One upgraded client connection with any of the protocols: numbered streams of bytes in both directions.
 *
 * Over SPDY, or SPDY inside WebSocket messages, the client opens streams with headers. Over WebSocket a
 * stream is a channel, the first byte of each message; all channels exist from the start, and the client may
 * half-close them with v5.channel.k8s.io.
 *
 * A client's bytes are read as fast as the owner allows (peer_took(), peer_hold()); bytes that the client
 * does not read are bounded by peer_room().
 *
 * Threads: its context's thread, on which all events run. Never blocks.
 */
#pragma once

#include "cri-server/streaming/client_socket.h"

typedef struct Peer Peer;

typedef enum { PEER_SPDY, PEER_TUNNEL, PEER_CHANNELS, PEER_CHANNELS_BASE64 } PeerKind;

typedef struct {
    /* Return: FALSE refuses the stream. Not called over WebSocket channels. */
    gboolean (*opened)(guint32 stream, GHashTable *headers, gpointer data);
    void (*received)(guint32 stream, const guint8 *bytes, gsize length, gpointer data);
    /* The client sends no more bytes on the stream; with reset, it reads no more either. */
    void (*ended)(guint32 stream, gboolean reset, gpointer data);
    /* The stream has room again after it had none. */
    void (*writable)(gpointer data);
    /* The connection is over, and so is the Peer. This is the last event; the socket is closed after it. */
    void (*gone)(gpointer data);
} PeerEvents;

typedef struct {
    GMainContext *context;
    ClientSocket *socket; /* owned */
    const char *greeting; /* sent first; NULL: nothing */
    PeerKind kind;
    gboolean half_closes; /* v5.channel.k8s.io */
    gint64 idle_ms;       /* time without a byte in either direction after which the client is disconnected */
} PeerConfig;

/* Runs on the context's thread. first holds bytes that followed the request; only if there are some, events
 * may begin before this returns, and *ret_peer is set before them. */
void peer_start(const PeerConfig *config, const guint8 *first, gsize n_first, const PeerEvents *events,
                gpointer data, Peer **ret_peer);

gsize peer_room(Peer *peer, guint32 stream);
/* An empty message tells a WebSocket client that the channel exists. */
void peer_send(Peer *peer, guint32 stream, const void *bytes, gsize length);
/* Half-closes the stream. WebSocket channels can be closed only by clients. */
void peer_end(Peer *peer, guint32 stream);
/* The owner has used this many of the bytes received on a stream. */
void peer_took(Peer *peer, guint32 stream, gsize length);
/* Stops or resumes reading from the client. A client that keeps SPDY windows is limited by them instead. */
void peer_hold(Peer *peer, gboolean hold);
/* Closes the connection gracefully: bytes sent so far still arrive, bytes received are ignored; gone follows.
 */
void peer_finish(Peer *peer);
/* Ends the connection at once; gone follows, but not during this call. */
void peer_drop(Peer *peer);
