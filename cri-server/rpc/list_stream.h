/* SPDX-License-Identifier: Apache-2.0 */
/* Sends a list as a stream of messages of about LIST_STREAM_BYTES, as the CRI's Stream methods do. An empty
 * list sends no message. */
#pragma once

#include "cri-server/rpc/rpc_server.h"

enum { LIST_STREAM_BYTES = 256 * 1024 };

/* Sends the items of a List method's answer to the client of the call. The answer and the messages of the
 * stream, whose type is chunk, have one field: a repeated one of the same type and number. The items may
 * instead be encoded already: unknown fields of the answer, each with whole items. Errors: those of
 * rpc_stream_send(). */
gboolean list_stream_send(const RpcCall *call, const ProtobufCMessage *answer,
                          const ProtobufCMessageDescriptor *chunk, GError **error);
