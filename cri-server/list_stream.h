/* A list sent as a stream of messages, none of which is much larger than LIST_STREAM_BYTES: what the CRI's
 * Stream methods are for. An empty list sends nothing. */
#pragma once

#include "cri-server/rpc_server.h"

enum { LIST_STREAM_BYTES = 256 * 1024 };

/* Sends what the answer of a List method holds to the client of call. The answer and the messages of the
 * stream, which are of type chunk, have one field: a repeated one of the same type. */
gboolean list_stream_send(const RpcCall *call, const ProtobufCMessage *answer,
                          const ProtobufCMessageDescriptor *chunk, GError **error);
