/* The table of RPCs (rpc.def) and what a handler gets.
 *
 * A handler is a blocking function on a worker thread of its lane. Its request has been decoded and its
 * strings checked; everything it allocates for the response comes from the call's arena, and strings may hold
 * any bytes: they are made valid UTF-8 on the way out. A failure's GError is the status that the caller sees.
 * Messages: https://github.com/kubernetes/cri-api (runtime.v1) and common/cri-api/crivirt.proto.
 */
#pragma once

#include "api.pb-c.h"
#include "common/arena.h"
#include "common/deadline.h"
#include "crivirt.pb-c.h"

typedef enum {
    RPC_LANE_FAST,  /* answers from memory: List, Status, Version */
    RPC_LANE_POD,   /* waits for libvirt, CNI plugins, the agent */
    RPC_LANE_EXEC,  /* lasts as long as a command in a container or a watching client does; asks guests */
    RPC_LANE_IMAGE, /* pulls and imports */
    RPC_N_LANES,
} RpcLane;
const char *rpc_lane_name(RpcLane lane);

typedef struct Daemon Daemon;
typedef struct RpcStream RpcStream; /* rpc_server.h */

/* Valid until the handler returns. */
typedef struct {
    const Daemon *daemon;
    Arena *arena;
    const Deadline *deadline; /* with a cancellable that fires when the caller goes away */
    RpcStream *stream;        /* of a streaming method; NULL otherwise */
} RpcCall;

/* response is initialised; NULL for a streaming method. */
typedef gboolean (*RpcInvoke)(const RpcCall *call, const ProtobufCMessage *request,
                              ProtobufCMessage *response, GError **error);

typedef struct {
    const ProtobufCServiceDescriptor *service;
    const char *name;
    const char *request_type; /* as the row says; the test compares it with the descriptor */
    const char *response_type;
    RpcLane lane;
    gboolean is_stream;
    RpcInvoke invoke; /* NULL: not implemented yet */
} RpcMethod;

const RpcMethod *rpc_table(gsize *ret_n_methods);

/* The service's own descriptor of a method, which has its message types; NULL when it has no such method. */
const ProtobufCMethodDescriptor *rpc_method_descriptor(const RpcMethod *method);

/* Decodes into the arena: INVALID_ARGUMENT for bytes that are no such message or hold text that is no UTF-8.
 */
const ProtobufCMessage *rpc_decode(const ProtobufCMessageDescriptor *type, const guint8 *data, gsize length,
                                   Arena *arena, GError **error);

/* The handlers: rpc.def declares one function for each implemented row. */
#define RPC_TYPE_RuntimeService(type) Runtime__V1__##type
#define RPC_TYPE_ImageService(type) Runtime__V1__##type
#define RPC_TYPE_Crivirt(type) Crivirt__V1__##type
#define RPC_DECLARE_UNARY_READY(service, handler, Request, Response)                                         \
    gboolean handler(const RpcCall *call, const RPC_TYPE_##service(Request) * request,                       \
                     RPC_TYPE_##service(Response) * response, GError * *error);
#define RPC_DECLARE_STREAM_READY(service, handler, Request, Response)                                        \
    gboolean handler(const RpcCall *call, const RPC_TYPE_##service(Request) * request, GError * *error);
#define RPC_DECLARE_UNARY_LATER(service, handler, Request, Response)
#define RPC_DECLARE_STREAM_LATER(service, handler, Request, Response)
#define RPC(service, Method, handler, Request, Response, lane, kind, state)                                  \
    RPC_DECLARE_##kind##_##state(service, handler, Request, Response)
#include "cri-server/rpc.def"
#undef RPC
