/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "api.pb-c.h"
#include "common/error.h"
#include "crivirt.pb-c.h"

static Deadline call_deadline(const Cli *cli, gint64 timeout_ms)
{
    Deadline deadline = {.at_us = G_MAXINT64};

    if (timeout_ms != CLI_NO_LIMIT_MS)
        deadline = deadline_in_ms(timeout_ms);
    deadline.cancellable = cli->interrupt;
    return deadline;
}

static gboolean connect_once(Cli *cli, GError **error)
{
    if (cli->client == NULL)
        cli->client = grpc_client_open(cli->socket_path, error);
    return cli->client != NULL;
}

static const void *cli_call(Cli *cli, const ProtobufCServiceDescriptor *service, const char *method,
                            const ProtobufCMessage *request, gint64 timeout_ms, GError **error)
{
    Deadline deadline = call_deadline(cli, timeout_ms);

    if (!connect_once(cli, error))
        return NULL;
    return grpc_client_call(cli->client, service, method, request, &deadline, cli->arena, error);
}

const void *cli_runtime_call(Cli *cli, const char *method, const ProtobufCMessage *request, gint64 timeout_ms,
                             GError **error)
{
    return cli_call(cli, &runtime__v1__runtime_service__descriptor, method, request, timeout_ms, error);
}

const void *cli_image_call(Cli *cli, const char *method, const ProtobufCMessage *request, gint64 timeout_ms,
                           GError **error)
{
    return cli_call(cli, &runtime__v1__image_service__descriptor, method, request, timeout_ms, error);
}

const void *cli_own_call(Cli *cli, const char *method, const ProtobufCMessage *request, gint64 timeout_ms,
                         GError **error)
{
    return cli_call(cli, &crivirt__v1__crivirt__descriptor, method, request, timeout_ms, error);
}

static gboolean cli_stream(Cli *cli, const ProtobufCServiceDescriptor *service, const char *method,
                           const ProtobufCMessage *request, GrpcMessageFunc func, gpointer data,
                           GError **error)
{
    Deadline deadline = call_deadline(cli, CLI_NO_LIMIT_MS);

    return connect_once(cli, error) &&
           grpc_client_stream(cli->client, service, method, request, &deadline, func, data, error);
}

gboolean cli_runtime_stream(Cli *cli, const char *method, const ProtobufCMessage *request,
                            GrpcMessageFunc func, gpointer data, GError **error)
{
    return cli_stream(cli, &runtime__v1__runtime_service__descriptor, method, request, func, data, error);
}

gboolean cli_own_stream(Cli *cli, const char *method, const ProtobufCMessage *request, GrpcMessageFunc func,
                        gpointer data, GError **error)
{
    return cli_stream(cli, &crivirt__v1__crivirt__descriptor, method, request, func, data, error);
}

gboolean cli_print(const char *text, GError **error)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) != 0)
        return fail_errno(error, errno == EPIPE ? ECANCELED : errno, "cannot write to the standard output");
    return TRUE;
}

void cli_warn(const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    fprintf(stderr, "crivirt: %s\n", text);
}
