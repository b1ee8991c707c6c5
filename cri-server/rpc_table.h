/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's table of RPCs, and the declarations of the handlers in the *_rpc.c files; both come from
 * rpc.def.
 *
 * The handler of a unary Method is
 *     gboolean rpc_Method(const RpcCall *call, const MethodRequest *request, MethodResponse *response, GError
 * **error) and a streaming one has no response; rpc/rpc_method.h says what a handler may rely on. A handler
 * has its method's exact name, so that one search finds the specification, the row and the function.
 *
 * Messages: https://github.com/kubernetes/cri-api (runtime.v1) and common/cri-api/crivirt.proto.
 */
#pragma once

#include "api.pb-c.h"
#include "cri-server/rpc/rpc_method.h"
#include "crivirt.pb-c.h"
#include "health.pb-c.h"

/* Return: every method of all services; static. */
const RpcMethod *rpc_table(gsize *ret_n_methods);

#define RPC_TYPE_RuntimeService(type) Runtime__V1__##type
#define RPC_TYPE_ImageService(type) Runtime__V1__##type
#define RPC_TYPE_Crivirt(type) Crivirt__V1__##type
#define RPC_TYPE_Health(type) Grpc__Health__V1__##type
#define RPC_DECLARE_UNARY(service, Method, Request, Response)                                                \
    gboolean rpc_##Method(const RpcCall *call, const RPC_TYPE_##service(Request) * request,                  \
                          RPC_TYPE_##service(Response) * response, GError * *error);
#define RPC_DECLARE_STREAM(service, Method, Request, Response)                                               \
    gboolean rpc_##Method(const RpcCall *call, const RPC_TYPE_##service(Request) * request, GError * *error);
#define RPC_TYPED(service, Method, Request, Response, pool, kind)                                            \
    RPC_DECLARE_##kind(service, Method, Request, Response)
#include "cri-server/rpc.def"
