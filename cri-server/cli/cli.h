/* SPDX-License-Identifier: Apache-2.0 */
/* The environment of a command: its connection to the daemon, its options, and its output.
 *
 * A Cli belongs to the main thread and lives for one command. Everything allocated in its arena, such as the
 * daemon's answers, lives as long. A command returns FALSE with *error, or returns TRUE and leaves its exit
 * code in exit_code.
 */
#pragma once

#include "common/arena.h"
#include "cri-server/cli/grpc_client.h"
#include "cri-server/cli/options.h"

typedef struct {
    const Options *options;
    const char *socket_path;
    const char *log_root;    /* directory of the logs of pods made by `crivirt run` */
    gboolean json;           /* print JSON instead of tables */
    GCancellable *interrupt; /* cancelled by Ctrl-C */
    Arena *arena;
    GrpcClient *client; /* opened by the first call */
    int exit_code;
} Cli;

enum {
    CLI_CALL_MS = 120 * 1000, /* for one call, as the kubelet's */
    CLI_RUN_POD_MS = 2 * CLI_CALL_MS,
    CLI_NO_LIMIT_MS = -1,
};

/* Make one call of the RuntimeService, the ImageService or crivirt's own service. timeout_ms may be
 * CLI_NO_LIMIT_MS. Return: the answer, of the method's response type, in the arena; NULL on failure. */
const void *cli_runtime_call(Cli *cli, const char *method, const ProtobufCMessage *request, gint64 timeout_ms,
                             GError **error);
const void *cli_image_call(Cli *cli, const char *method, const ProtobufCMessage *request, gint64 timeout_ms,
                           GError **error);
const void *cli_own_call(Cli *cli, const char *method, const ProtobufCMessage *request, gint64 timeout_ms,
                         GError **error);
gboolean cli_runtime_stream(Cli *cli, const char *method, const ProtobufCMessage *request,
                            GrpcMessageFunc func, gpointer data, GError **error);
gboolean cli_own_stream(Cli *cli, const char *method, const ProtobufCMessage *request, GrpcMessageFunc func,
                        gpointer data, GError **error);

/* Prints text on stdout. Errors: CANCELLED when the reader of stdout is gone. */
gboolean cli_print(const char *text, GError **error);
/* Prints "crivirt: MESSAGE" on stderr. */
void cli_warn(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Allocates a protobuf-c message in an arena and initialises it from its descriptor. */
#define MESSAGE_NEW(arena, Type, descriptor)                                                                 \
    ((Type *)message_init(arena_new0((arena), Type, 1), &(descriptor)))
static inline void *message_init(void *message, const ProtobufCMessageDescriptor *descriptor)
{
    protobuf_c_message_init(descriptor, message);
    return message;
}
