/* What a client asks for when it connects, and what it gets: SPDY or WebSocket, and which protocol on it.
 * Pure.
 */
#pragma once

#include "cri-server/streaming/peer.h"

typedef enum { STREAM_EXEC, STREAM_ATTACH, STREAM_PORT_FORWARD } StreamKind;

typedef struct {
    PeerKind peer;
    int version;          /* of channel.k8s.io; 5 half-closes */
    const char *protocol; /* as the client named it; borrowed from this module */
} StreamProtocol;

/* The first of the client's protocols that is served; FALSE when there is none. An empty list is the first
 * version over WebSocket, and not served over SPDY. */
gboolean negotiate_protocol(StreamKind kind, gboolean is_websocket, const char *const *offered,
                            StreamProtocol *ret_protocol);
/* Elements of comma-separated lists, as several headers of one name may hold them; the caller frees. */
char **negotiate_split(const GPtrArray *headers);
/* Sec-WebSocket-Accept (RFC 6455, 4.2.2) for a Sec-WebSocket-Key; the caller frees. */
char *negotiate_websocket_accept(const char *key);
