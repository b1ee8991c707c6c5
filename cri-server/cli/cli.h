/* What every command gets: the connection to the daemon, the options, and where its result goes.
 *
 * A Cli belongs to the main thread and lives for one command. Answers of the daemon and anything else that is
 * allocated in its arena live as long. A command returns FALSE with *error, or TRUE and leaves its exit code
 * in exit_code.
 */
#pragma once

#include "common/arena.h"
#include "cri-server/cli/grpc_client.h"
#include "cri-server/cli/options.h"

typedef struct {
    const Options *options;
    const char *socket_path;
    const char *log_root;    /* where pods made by `crivirt run` log */
    gboolean json;           /* instead of tables */
    GCancellable *interrupt; /* Ctrl-C */
    Arena *arena;
    GrpcClient *client; /* opened by the first call */
    int exit_code;
} Cli;

enum {
    CLI_CALL_MS = 120 * 1000, /* as the kubelet's: per call */
    CLI_RUN_POD_MS = 2 * CLI_CALL_MS,
    CLI_NO_LIMIT_MS = -1,
};

/* One call of the RuntimeService, ImageService or crivirt's own service; the answer is of the method's type
 * and lives in the arena. timeout_ms may be CLI_NO_LIMIT_MS. */
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

/* Text on stdout; CANCELLED when nobody reads it any more. */
gboolean cli_print(const char *text, GError **error);
/* "crivirt: …" on stderr. */
void cli_warn(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* A protobuf-c message in an arena, initialised from its descriptor. */
#define MESSAGE_NEW(arena, Type, descriptor)                                                                 \
    ((Type *)message_init(arena_new0((arena), Type, 1), &(descriptor)))
static inline void *message_init(void *message, const ProtobufCMessageDescriptor *descriptor)
{
    protobuf_c_message_init(descriptor, message);
    return message;
}
