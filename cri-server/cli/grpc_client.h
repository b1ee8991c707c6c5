/* Calls to crivirtd over its unix socket: unary and server-streaming gRPC.
 *
 * The only client file that knows gRPC. One client belongs to one thread and makes one call at a time; the
 * cancellable of a call's deadline may be cancelled from any thread and ends the call at once. Messages are
 * limited to 16 MiB both ways.
 *
 * Errors carry the status that the daemon sent, with its message. A socket that is missing or that nobody
 * listens on is UNAVAILABLE, one that may not be opened PERMISSION_DENIED, an answer that cannot be decoded
 * INTERNAL.
 */
#pragma once

#include "common/arena.h"
#include "common/deadline.h"

typedef struct GrpcClient GrpcClient;

/* socket_path may be written as unix:///path. Signals that the program waits for must be blocked before. */
GrpcClient *grpc_client_open(const char *socket_path, GError **error);
void grpc_client_close(GrpcClient *client); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GrpcClient, grpc_client_close)

/* One request, one answer, which lives in the arena; NULL on failure. The method's name is the one in the
 * .proto file, and the request must be of its type. */
const ProtobufCMessage *grpc_client_call(GrpcClient *client, const ProtobufCServiceDescriptor *service,
                                         const char *method, const ProtobufCMessage *request,
                                         const Deadline *deadline, Arena *arena, GError **error);

/* Called for each message of a stream; the message dies with the call. FALSE ends the stream with *error. */
typedef gboolean (*GrpcMessageFunc)(const ProtobufCMessage *message, gpointer data, GError **error);

gboolean grpc_client_stream(GrpcClient *client, const ProtobufCServiceDescriptor *service, const char *method,
                            const ProtobufCMessage *request, const Deadline *deadline, GrpcMessageFunc func,
                            gpointer data, GError **error);
