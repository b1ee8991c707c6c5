/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the protocol of a client's connection: SPDY or WebSocket, and the subprotocol on it. The request
 * is untrusted and is checked here. Pure. */
#pragma once

#include "cri-server/streaming/http_request.h"
#include "cri-server/streaming/peer.h"

typedef enum { STREAM_EXEC, STREAM_ATTACH, STREAM_PORT_FORWARD } StreamKind;

typedef struct {
    PeerKind peer;
    int version;          /* of channel.k8s.io; from 5 on the client can half-close a channel */
    const char *protocol; /* as the client spells it; static */
} StreamProtocol;

/* Chooses the first offered protocol that the server supports. An empty offer selects channel.k8s.io over
 * WebSocket and is refused over SPDY. Return: FALSE when no offered protocol is supported. */
gboolean negotiate_protocol(StreamKind kind, gboolean is_websocket, const char *const *offered,
                            StreamProtocol *ret_protocol);

/* What a request for a URL such as "/exec/TOKEN" asks for. */
typedef struct {
    StreamKind kind;
    const char *token; /* borrowed from the request */
    StreamProtocol protocol;
} StreamUpgrade;

/* Return: the kind as URLs contain it, "exec"; static. */
const char *negotiate_kind_name(StreamKind kind);
/* Return: 0 when the request can be served; else the HTTP status of the refusal, with its reason in
 * *ret_problem (static). */
int negotiate_upgrade(const HttpRequest *request, StreamUpgrade *ret_upgrade, const char **ret_problem);
/* Return: the answer "101 Switching Protocols" with its headers; the caller frees it. */
char *negotiate_answer(const HttpRequest *request, const StreamUpgrade *upgrade);
