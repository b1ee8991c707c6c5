/* SPDX-License-Identifier: Apache-2.0 */
/* A gRPC server on a unix socket for any table of RpcMethods. Only this folder of the daemon includes gRPC
 * (C core 1.51).
 *
 * The server itself answers UNIMPLEMENTED (the method is unknown or has no handler; the message names it),
 * INVALID_ARGUMENT (the request cannot be decoded) and RESOURCE_EXHAUSTED (a message is larger than 16 MiB,
 * or the worker pool is full).
 *
 * Threads: one completion-queue thread, which never blocks, and one worker pool for each RpcPool. A call's
 * Deadline carries a GCancellable that fires when the client cancels or disconnects; callbacks connected to
 * it run on the completion-queue thread and must not block.
 */
#pragma once

#include "cri-server/rpc/rpc_method.h"
#include "cri-server/rpc/worker_pool.h"

enum { RPC_MESSAGE_MAX_BYTES = 16 * 1024 * 1024, RPC_STREAM_PATIENCE_MS = 30 * 1000 };

typedef struct RpcServer RpcServer;

typedef struct {
    const char *socket_path;  /* the server holds the lock file "SOCKET.lock" as long as it lives */
    const char *socket_group; /* whose members may connect; NULL or "": root alone may */
    const RpcMethod *methods;
    gsize n_methods;
    const Daemon *daemon; /* passed to the handlers; borrowed */
    WorkerPoolSize pools[RPC_N_POOLS];
} RpcServerConfig;

/* Makes the signal and environment settings that gRPC needs. Call it once, before any thread exists. */
void rpc_server_prepare_process(void);

/* Takes the lock file and binds the socket (mode 0660). Clients may connect from now on; their calls are
 * answered after rpc_server_start(). Changes the process's umask for a moment. Ownership: the configuration
 * is copied; the methods are borrowed. Errors: UNAVAILABLE when another daemon has the socket (the message
 * names its pid), FAILED_PRECONDITION when the path is not a socket, or there is no such group. */
RpcServer *rpc_server_open(const RpcServerConfig *config, GError **error);
void rpc_server_start(RpcServer *server);

/* For checks whether the server moves: run function(data) soon, on the thread of the completion queue, or on
 * a worker. One function of each kind at a time. Where every worker is busy the function runs at once on the
 * caller's thread, because calls of the pool may last as long as they like; but calls of RPC_POOL_FAST must
 * not, so there the function waits its turn. Threads: any but a worker, between rpc_server_start() and
 * rpc_server_stop(). */
void rpc_server_ask_queue(RpcServer *server, void (*function)(gpointer data), gpointer data);
void rpc_server_ask_pool(RpcServer *server, RpcPool pool, void (*function)(gpointer data), gpointer data);
/* Return: calls of the pool that wait or run. Threads: any, while the server lives. */
guint rpc_server_calls(RpcServer *server, RpcPool pool);

/* Refuses new calls, cancels streams at once and other calls after the grace. Blocks until every handler has
 * returned. */
void rpc_server_stop(RpcServer *server, gint64 grace_ms);
/* For a server that was stopped or never started; takes NULL. */
void rpc_server_free(RpcServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RpcServer, rpc_server_free)

/* Sends a message of a streaming method. Blocks while more than about 1 MiB waits for the client.
 * Errors: CANCELLED when the client has disconnected, DEADLINE_EXCEEDED at the call's deadline,
 * RESOURCE_EXHAUSTED when the client has read nothing for RPC_STREAM_PATIENCE_MS.
 * Threads: any, while the handler runs. */
gboolean rpc_stream_send(RpcStream *stream, ProtobufCMessage *message, GError **error);
/* Return: TRUE when no message waits to be sent, so that a message that could be left out is worth sending.
 */
gboolean rpc_stream_is_idle(RpcStream *stream);
