/* What a client asks for when it connects, and what it gets: SPDY or WebSocket, and which protocol on it.
 * What it sends is hostile and checked here. Pure.
 */
#pragma once

#include "cri-server/streaming/http_request.h"
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

/* What a URL of ours, "/exec/TOKEN", is asked for. */
typedef struct {
    StreamKind kind;
    const char *token; /* of the request */
    StreamProtocol protocol;
} StreamUpgrade;

const char *negotiate_kind_name(StreamKind kind);
/* 0, or the HTTP status to refuse it with; then *ret_problem says why. */
int negotiate_upgrade(const HttpRequest *request, StreamUpgrade *ret_upgrade, const char **ret_problem);
/* The head of the answer that switches protocols; the caller frees it. */
char *negotiate_answer(const HttpRequest *request, const StreamUpgrade *upgrade);
