/* SPDX-License-Identifier: Apache-2.0 */
/* Kept apart from the server, so that a fuzz target can decode requests without gRPC. */
#include "common/error.h"
#include "cri-server/rpc/message_text.h"
#include "cri-server/rpc/rpc_method.h"

const char *rpc_pool_name(RpcPool pool)
{
    static const char *const names[] = {"fast", "pod", "exec", "image", "stats", "watch"};

    G_STATIC_ASSERT(G_N_ELEMENTS(names) == RPC_N_POOLS);
    return names[pool];
}

const ProtobufCMethodDescriptor *rpc_method_descriptor(const RpcMethod *method)
{
    return protobuf_c_service_descriptor_get_method_by_name(method->service, method->name);
}

const ProtobufCMessage *rpc_decode(const ProtobufCMessageDescriptor *type, const guint8 *data, gsize length,
                                   Arena *arena, GError **error)
{
    const ProtobufCMessage *message = protobuf_c_message_unpack(type, arena_allocator(arena), length, data);

    if (message == NULL) {
        fail(error, STATUS_INVALID_ARGUMENT, "the request is not a valid %s.%s message", type->package_name,
             type->short_name);
        return NULL;
    }
    return message_text_check(message, error) ? message : NULL;
}
