/* SPDX-License-Identifier: Apache-2.0 */
/* One row of a server's table of RPCs, and what its handler gets.
 *
 * A handler is a blocking function on a thread of its worker pool. Its request has been decoded and every
 * string in it is valid UTF-8. The handler allocates its response from the call's arena and frees nothing;
 * strings of the response may hold any bytes, because the server makes them valid UTF-8.
 *
 * Errors: the handler's GError is the status that the client gets.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "common/arena.h"
#include "common/deadline.h"

typedef enum {
    RPC_POOL_FAST,  /* answers from memory: List, Status, Version */
    RPC_POOL_POD,   /* waits for libvirt, CNI plugins, the agent */
    RPC_POOL_EXEC,  /* lasts as long as a command in a container */
    RPC_POOL_IMAGE, /* pulls and imports */
    RPC_POOL_STATS, /* waits some seconds at most, for guests or a CNI plugin: statistics, Status */
    RPC_POOL_WATCH, /* lasts as long as its client reads: events, lists as streams */
    RPC_N_POOLS,
} RpcPool;
/* Return: "fast", "pod", …; static. */
const char *rpc_pool_name(RpcPool pool);

typedef struct Daemon Daemon;
typedef struct RpcStream RpcStream; /* rpc_server.h */

/* Valid until the handler returns. */
typedef struct {
    const Daemon *daemon;
    Arena *arena;
    const Deadline *deadline; /* its cancellable fires when the client cancels or disconnects */
    RpcStream *stream;        /* of a streaming method; NULL otherwise */
    gboolean by_alias;        /* the client named the service by its alias */
} RpcCall;

/* response is initialised; it is NULL for a streaming method. */
typedef gboolean (*RpcInvoke)(const RpcCall *call, const ProtobufCMessage *request,
                              ProtobufCMessage *response, GError **error);

typedef struct {
    const ProtobufCServiceDescriptor *service;
    const char *name;
    const char *request_type; /* short names of the messages that the handler is written for */
    const char *response_type;
    RpcPool pool;
    gboolean is_stream;
    RpcInvoke invoke;  /* NULL: the server answers UNIMPLEMENTED */
    const char *alias; /* another name of the service, with the same messages; NULL: none */
} RpcMethod;

/* Return: the service's own descriptor of the method, which has its message types; NULL when the service has
 * no method of that name. */
const ProtobufCMethodDescriptor *rpc_method_descriptor(const RpcMethod *method);

/* Decodes a request. Return: a message in the arena.
 * Errors: INVALID_ARGUMENT when the bytes are no message of that type or a string is not UTF-8. */
const ProtobufCMessage *rpc_decode(const ProtobufCMessageDescriptor *type, const guint8 *data, gsize length,
                                   Arena *arena, GError **error);
