/* A gRPC server for a table of RpcMethods on a unix socket. The only file of the daemon that knows gRPC
 * (C core 1.51).
 *
 * Threads: one completion-queue thread, which never blocks, and a lane of workers for each kind of RPC. A
 * call's Deadline carries a GCancellable that fires when the client cancels or goes away; what is connected
 * to it runs on the completion-queue thread and must not block. Messages are limited to 16 MiB both ways.
 *
 * Statuses that the server itself answers: UNIMPLEMENTED (no such method, or a later one; both are named),
 * INVALID_ARGUMENT (request cannot be decoded), RESOURCE_EXHAUSTED (message too large, lane full).
 */
#pragma once

#include "cri-server/lane.h"
#include "cri-server/rpc.h"

enum { RPC_MESSAGE_MAX_BYTES = 16 * 1024 * 1024, RPC_STREAM_PATIENCE_MS = 30 * 1000 };

typedef struct RpcServer RpcServer;

typedef struct {
    const char *socket_path; /* "SOCKET.lock" beside it is held as long as the server lives */
    const RpcMethod *methods;
    gsize n_methods;
    const Daemon *daemon; /* for the handlers; borrowed */
    LaneSize lanes[RPC_N_LANES];
} RpcServerConfig;

/* Once, before any thread exists: the signal and environment settings that gRPC needs. */
void rpc_server_prepare_process(void);

/* Takes the lock and binds the socket (mode 0660), so that a second daemon fails here (UNAVAILABLE, naming
 * the first one's pid). Clients may connect from now on and are answered after rpc_server_start(). Changes
 * the process's umask for a moment. The configuration is copied, the methods are borrowed. */
RpcServer *rpc_server_open(const RpcServerConfig *config, GError **error);
void rpc_server_start(RpcServer *server);

/* No new calls; streams are cancelled at once, other calls when the grace is over. Blocks until every handler
 * has returned. */
void rpc_server_stop(RpcServer *server, gint64 grace_ms);
/* After rpc_server_stop(), or for a server that was never started; takes NULL. */
void rpc_server_free(RpcServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RpcServer, rpc_server_free)

/* Sends a message of a streaming method. Blocks while the client has not taken what was sent before (about
 * 1 MiB may wait); CANCELLED when it is gone, DEADLINE_EXCEEDED when its time is over, RESOURCE_EXHAUSTED
 * when it has taken nothing for RPC_STREAM_PATIENCE_MS. Any thread, while the handler runs. */
gboolean rpc_stream_send(RpcStream *stream, ProtobufCMessage *message, GError **error);
/* Whether all that was sent is on its way, so that a message that may be left out is worth sending now. */
gboolean rpc_stream_is_idle(RpcStream *stream);
