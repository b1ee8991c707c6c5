#include "cri-server/rpc.h"

#include "common/error.h"

/* protobuf-c hands a handler its messages as their common base: a thunk for each row gives them their types.
 */
#define RPC_THUNK_UNARY_READY(service, handler, Request, Response)                                           \
    static gboolean thunk_##handler(const RpcCall *call, const ProtobufCMessage *request,                    \
                                    ProtobufCMessage *response, GError **error)                              \
    {                                                                                                        \
        return handler(call, (const RPC_TYPE_##service(Request) *)(const void *)request,                     \
                       (RPC_TYPE_##service(Response) *)(void *)response, error);                             \
    }
#define RPC_THUNK_STREAM_READY(service, handler, Request, Response)                                          \
    static gboolean thunk_##handler(const RpcCall *call, const ProtobufCMessage *request,                    \
                                    ProtobufCMessage *response, GError **error)                              \
    {                                                                                                        \
        (void)response;                                                                                      \
        return handler(call, (const RPC_TYPE_##service(Request) *)(const void *)request, error);             \
    }
#define RPC_THUNK_UNARY_LATER(service, handler, Request, Response)
#define RPC_THUNK_STREAM_LATER(service, handler, Request, Response)
#define RPC(service, Method, handler, Request, Response, lane, kind, state)                                  \
    RPC_THUNK_##kind##_##state(service, handler, Request, Response)
#include "cri-server/rpc.def"
#undef RPC

#define RPC_SERVICE_RuntimeService runtime__v1__runtime_service__descriptor
#define RPC_SERVICE_ImageService runtime__v1__image_service__descriptor
#define RPC_SERVICE_Crivirt crivirt__v1__crivirt__descriptor
#define RPC_IS_STREAM_UNARY FALSE
#define RPC_IS_STREAM_STREAM TRUE
#define RPC_INVOKE_READY(handler) thunk_##handler
#define RPC_INVOKE_LATER(handler) NULL

static const RpcMethod methods[] = {
#define RPC(service, Method, handler, Request, Response, lane, kind, state)                                  \
    {&RPC_SERVICE_##service,     #Method, #Request, #Response, RPC_LANE_##lane, RPC_IS_STREAM_##kind,        \
     RPC_INVOKE_##state(handler)},
#include "cri-server/rpc.def"
#undef RPC
};

const RpcMethod *rpc_table(gsize *ret_n_methods)
{
    *ret_n_methods = G_N_ELEMENTS(methods);
    return methods;
}
