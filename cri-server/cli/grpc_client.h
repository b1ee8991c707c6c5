/* SPDX-License-Identifier: Apache-2.0 */
/* Makes unary and server-streaming gRPC calls to crivirtd over its unix socket. This is the only file of the
 * client that includes gRPC. Messages are limited to 16 MiB both ways.
 *
 * Errors: the status and message that the daemon sent. UNAVAILABLE when the socket does not exist or no
 * program listens on it, PERMISSION_DENIED when it may not be opened, INTERNAL when an answer cannot be
 * decoded.
 *
 * Threads: a client belongs to one thread and makes one call at a time. Any thread may cancel the
 * cancellable of a call's deadline, which ends the call at once.
 */
#pragma once

#include "common/arena.h"
#include "common/deadline.h"

typedef struct GrpcClient GrpcClient;

/* socket_path may have the form unix:///path. Signals that the program waits for must be blocked before this
 * call. */
GrpcClient *grpc_client_open(const char *socket_path, GError **error);
void grpc_client_close(GrpcClient *client); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GrpcClient, grpc_client_close)

/* Sends one request. method is its name in the .proto file, and the request must be of its type. Return: the
 * answer, in the arena; NULL on failure. */
const ProtobufCMessage *grpc_client_call(GrpcClient *client, const ProtobufCServiceDescriptor *service,
                                         const char *method, const ProtobufCMessage *request,
                                         const Deadline *deadline, Arena *arena, GError **error);

/* Called for each message of a stream, which is freed afterwards. Return: FALSE with *error ends the stream.
 */
typedef gboolean (*GrpcMessageFunc)(const ProtobufCMessage *message, gpointer data, GError **error);

gboolean grpc_client_stream(GrpcClient *client, const ProtobufCServiceDescriptor *service, const char *method,
                            const ProtobufCMessage *request, const Deadline *deadline, GrpcMessageFunc func,
                            gpointer data, GError **error);
