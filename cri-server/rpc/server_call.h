/* SPDX-License-Identifier: Apache-2.0 */
/* One call of a client, from its arrival to its answer. Private to this folder.
 *
 * A call is reference-counted: each gRPC operation that is under way holds a reference, as does the worker
 * that runs the handler. The files: server_call.c (life, operations), server_message.c
 * (encoding), server_stream.c (messages of a
 * streaming method), server_answer.c (the handler and its answer, on a worker), rpc_server.c (arrival, on the
 * completion-queue thread).
 */
#pragma once

#include <grpc/grpc.h>

#include "common/arena_pool.h"
#include "common/error.h"
#include "cri-server/rpc/rpc_server.h"

typedef struct ServerCall ServerCall;

/* The tag of a gRPC operation: one for each kind, so that several may be under way at once. */
typedef struct {
    ServerCall *call;
    void (*complete)(ServerCall *call, gboolean ok); /* on the completion-queue thread */
} CallTag;

struct RpcStream {
    ServerCall *call;
    GMutex lock;
    GCond changed;
    GQueue waiting; /* grpc_byte_buffer */
    gsize waiting_bytes;
    gboolean headers_sent;
    gboolean sending;  /* the `sent` operation is under way */
    gboolean broken;   /* the client has disconnected or cancelled */
    gboolean finished; /* the handler has returned; status and message hold the result */
    StatusCode status;
    char *message;
};

struct ServerCall {
    gatomicrefcount references;
    RpcServer *server;
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    const RpcMethod *method; /* NULL: unknown */
    gboolean by_alias;       /* the client named the method's service by its alias */
    const ProtobufCMethodDescriptor *types;
    grpc_byte_buffer *request;
    Arena *arena; /* the worker's; NULL without one */
    GCancellable *cancellable;
    Deadline deadline;
    gint64 arrived_us;
    int was_cancelled; /* set by gRPC when the `closed` operation completes */
    CallTag accepted, closed, received, sent, answered;
    RpcStream stream;
};

struct RpcServer {
    const Daemon *daemon;
    char *socket_path;
    int lock_fd;
    GHashTable *methods; /* path → const RpcMethod; keys owned */
    WorkerPool *pools[RPC_N_POOLS];
    ArenaPool *arenas;
    grpc_server *grpc;
    grpc_completion_queue *queue;
    GThread *thread;
    CallTag stopped_tag;
    GMutex lock;
    GCond changed;
    void (*asked)(gpointer data); /* by rpc_server_ask_queue(); NULL: nothing; under lock */
    gpointer asked_data;
    gboolean started;
    gboolean stopped;
    GHashTable *calls; /* ServerCall, those that have arrived and are not freed yet; under lock */
};

/* ---- life and operations (server_call.c) ---- */

/* A call with one reference, whose tags accepted, closed and received are the caller's to set. */
ServerCall *server_call_new(RpcServer *server);
ServerCall *server_call_ref(ServerCall *call);
void server_call_unref(ServerCall *call);

/* Starts operations, whose completion calls tag->complete(). */
void server_call_start(ServerCall *call, const grpc_op *ops, gsize n_ops, CallTag *tag);
/* The end of a call. message: NULL for an error and for a stream. */
typedef struct {
    gboolean with_headers;
    grpc_byte_buffer *message;
    StatusCode status;
    const char *text; /* NULL: none */
} CallAnswer;
/* Sends headers, message and status in one batch. */
void server_call_answer(ServerCall *call, const CallAnswer *answer);
/* Fires the call's cancellable and wakes a handler that waits to send. */
void server_call_cancel(ServerCall *call);

/* ---- messages (server_message.c) ---- */

/* Encodes a message of that packed size. arena: has what the message consists of, or holds it; large bytes in
 * it may be sent from there, so that the buffer owns the arena as well. Return: the caller's. */
grpc_byte_buffer *server_message_pack(const ProtobufCMessage *message, gsize size, Arena *arena);

/* ---- streams (server_stream.c) ---- */

void server_stream_init(RpcStream *stream, ServerCall *call);
void server_stream_clear(RpcStream *stream);
void server_stream_break(RpcStream *stream);
/* Sends the status after the messages that still wait. */
void server_stream_finish(RpcStream *stream, StatusCode status, const char *message);

/* ---- answers (server_answer.c) ---- */

/* A WorkerFunc: decodes the request, runs the handler and answers. Takes the caller's reference. */
void server_call_run(gpointer call);
/* Answers with an error. */
void server_call_refuse(ServerCall *call, StatusCode status, const char *format, ...) G_GNUC_PRINTF(3, 4);
