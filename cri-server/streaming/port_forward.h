/* SPDX-License-Identifier: Apache-2.0 */
/* PortForward for one client: any number of connections to ports of a pod's loopback address.
 *
 * Over SPDY (bare or in WebSocket messages) each connection is a pair of streams, data and error, with the
 * same requestID. Over WebSocket channels the ports are those of the request: channel 2n carries the data of
 * the nth port, channel 2n+1 its errors, and the server's first message on both is the port's number.
 */
#pragma once

#include "cri-server/streaming/stream_loop.h"

typedef struct {
    char *sandbox_id;
    GArray *ports; /* guint16; may be empty */
} ForwardRequest;

void forward_request_free(ForwardRequest *request);

/* Serves the client until it disconnects; over channels, until all its connections are over. first: bytes
 * that the client sent after its request. Ownership: takes request. Threads: the loop's. */
void port_forward_serve(StreamLoop *loop, ForwardRequest *request, const PeerConfig *peer,
                        const guint8 *first, gsize n_first);
