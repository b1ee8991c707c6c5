/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the protocol for a client: SPDY or WebSocket, and the subprotocol on it. The client's request is
 * untrusted and is checked here. Pure. */
#pragma once

#include "cri-server/streaming/http_request.h"
#include "cri-server/streaming/peer.h"

typedef enum { STREAM_EXEC, STREAM_ATTACH, STREAM_PORT_FORWARD } StreamKind;

typedef struct {
    PeerKind peer;
    int version;          /* of channel.k8s.io; 5 half-closes */
    const char *protocol; /* in the client's spelling; borrowed from this module */
} StreamProtocol;

/* Return: the first of the client's protocols that the server has; FALSE when there is none. An empty list
 * means the first version over WebSocket, and is refused over SPDY. */
gboolean negotiate_protocol(StreamKind kind, gboolean is_websocket, const char *const *offered,
                            StreamProtocol *ret_protocol);

/* The parts of a request for a URL such as "/exec/TOKEN". */
typedef struct {
    StreamKind kind;
    const char *token; /* of the request */
    StreamProtocol protocol;
} StreamUpgrade;

const char *negotiate_kind_name(StreamKind kind);
/* Return: 0, or the HTTP status of a refusal, whose reason is *ret_problem. */
int negotiate_upgrade(const HttpRequest *request, StreamUpgrade *ret_upgrade, const char **ret_problem);
/* Return: the head of the answer that switches protocols; the caller frees it. */
char *negotiate_answer(const HttpRequest *request, const StreamUpgrade *upgrade);
