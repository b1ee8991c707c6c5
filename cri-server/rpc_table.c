/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc_table.h"

/* The server passes messages as their common base type; the thunk of a row gives them their own types. */
#define RPC_THUNK_UNARY(service, Method, Request, Response)                                                  \
    static gboolean invoke_##Method(const RpcCall *call, const ProtobufCMessage *request,                    \
                                    ProtobufCMessage *response, GError **error)                              \
    {                                                                                                        \
        return rpc_##Method(call, (const RPC_TYPE_##service(Request) *)(const void *)request,                \
                            (RPC_TYPE_##service(Response) *)(void *)response, error);                        \
    }
#define RPC_THUNK_STREAM(service, Method, Request, Response)                                                 \
    static gboolean invoke_##Method(const RpcCall *call, const ProtobufCMessage *request,                    \
                                    ProtobufCMessage *response, GError **error)                              \
    {                                                                                                        \
        (void)response;                                                                                      \
        return rpc_##Method(call, (const RPC_TYPE_##service(Request) *)(const void *)request, error);        \
    }
#define RPC_TYPED(service, Method, Request, Response, pool, kind)                                            \
    RPC_THUNK_##kind(service, Method, Request, Response)
#include "cri-server/rpc.def"

#define RPC_SERVICE_RuntimeService runtime__v1__runtime_service__descriptor
#define RPC_SERVICE_ImageService runtime__v1__image_service__descriptor
#define RPC_SERVICE_Crivirt crivirt__v1__crivirt__descriptor
#define RPC_SERVICE_Health grpc__health__v1__health__descriptor
/* v1 began as a copy of v1alpha2, and has only grown since: clients of that get the same answers. */
#define RPC_ALIAS_RuntimeService "runtime.v1alpha2.RuntimeService"
#define RPC_ALIAS_ImageService "runtime.v1alpha2.ImageService"
#define RPC_ALIAS_Crivirt NULL
#define RPC_ALIAS_Health NULL
#define RPC_IS_STREAM_UNARY FALSE
#define RPC_IS_STREAM_STREAM TRUE

static const RpcMethod methods[] = {
#define RPC_TYPED(service, Method, Request, Response, pool, kind)                                            \
    {&RPC_SERVICE_##service, #Method,         #Request,           #Response, RPC_POOL_##pool,                \
     RPC_IS_STREAM_##kind,   invoke_##Method, RPC_ALIAS_##service},
#define RPC_UNIMPLEMENTED(service, Method, kind)                                                             \
    {&RPC_SERVICE_##service, #Method, #Method "Request",  #Method "Response", RPC_POOL_FAST,                 \
     RPC_IS_STREAM_##kind,   NULL,    RPC_ALIAS_##service},
#include "cri-server/rpc.def"
};

const RpcMethod *rpc_table(gsize *ret_n_methods)
{
    *ret_n_methods = G_N_ELEMENTS(methods);
    return methods;
}
