/* One upgraded client connection, whatever it speaks: numbered streams of bytes in both directions.
 *
 * Over SPDY, or SPDY inside WebSocket messages, the client opens streams with headers. Over WebSocket a
 * stream is a channel, the first byte of each message; all exist from the start, and the client may
 * half-close them with v5.channel.k8s.io. A Peer lives on its context's thread, where all events come; it
 * never blocks.
 *
 * What a client sends is taken as fast as its owner lets it (peer_took(), peer_hold()); what it does not read
 * is bounded by peer_room().
 */
#pragma once

#include "cri-server/streaming/client_socket.h"

typedef struct Peer Peer;

typedef enum { PEER_SPDY, PEER_TUNNEL, PEER_CHANNELS, PEER_CHANNELS_BASE64 } PeerKind;

typedef struct {
    /* FALSE refuses it. Not over WebSocket channels. */
    gboolean (*opened)(guint32 stream, GHashTable *headers, gpointer data);
    void (*received)(guint32 stream, const guint8 *bytes, gsize length, gpointer data);
    /* The client sends no more on it; reset: and takes no more either. */
    void (*ended)(guint32 stream, gboolean reset, gpointer data);
    /* There is room again after there was none. */
    void (*writable)(gpointer data);
    /* The connection is over, and so is the Peer: the last event; the socket is closed after it. */
    void (*gone)(gpointer data);
} PeerEvents;

typedef struct {
    GMainContext *context;
    ClientSocket *socket; /* taken over */
    const char *greeting; /* sent first; NULL: nothing */
    PeerKind kind;
    gboolean half_closes; /* v5.channel.k8s.io */
    gint64 idle_ms;       /* without a byte either way, after which it is dropped */
} PeerConfig;

/* On the context's thread. first: bytes that came with the request. The events may begin before this returns
 * only if first holds some; *ret_peer is set before. */
void peer_start(const PeerConfig *config, const guint8 *first, gsize n_first, const PeerEvents *events,
                gpointer data, Peer **ret_peer);

gsize peer_room(Peer *peer, guint32 stream);
/* An empty message tells a WebSocket client that the channel is there. */
void peer_send(Peer *peer, guint32 stream, const void *bytes, gsize length);
/* Half-closes it. Only clients close WebSocket channels. */
void peer_end(Peer *peer, guint32 stream);
/* So many of the bytes received on a stream have been used. */
void peer_took(Peer *peer, guint32 stream, gsize length);
/* Whether to stop taking what the client sends; a client that keeps windows is bound by them instead. */
void peer_hold(Peer *peer, gboolean hold);
/* Says goodbye: what has been sent still arrives, what comes is ignored; gone follows. */
void peer_finish(Peer *peer);
/* Ends it at once; gone follows, not from here. */
void peer_drop(Peer *peer);
