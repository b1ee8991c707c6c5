/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming server behind Exec, Attach and PortForward: issues one-time URLs and serves the clients that
 * use them.
 *
 * Errors: INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, RESOURCE_EXHAUSTED (too many unused URLs).
 *
 * Threads: one thread (stream_loop.h) serves all connections. Functions may be called from any thread.
 */
#pragma once

#include "api.pb-c.h"
#include "sandbox/sandbox.h"

typedef struct StreamServer StreamServer;

typedef struct {
    const char *address;            /* numeric */
    guint16 port;                   /* 0: any */
    const char *tls_cert, *tls_key; /* files (PEM); both or neither */
    gint64 idle_ms;
    gint64 creation_ms;
    gint64 url_ms;
} StreamServerConfig;

/* Copies the configuration; the certificate's files are read again when they change. sandboxes is borrowed.
 */
StreamServer *stream_server_open(const StreamServerConfig *config, SandboxManager *sandboxes, GError **error);
/* Ends all clients' requests with a message, and the server. Takes NULL. */
void stream_server_close(StreamServer *server);

/* Return: the certificate (PEM) that clients get now, which the caller frees; NULL without TLS. */
char *stream_server_certificate(StreamServer *server);

/* URLs for one use within the configuration's url_ms; the caller frees them. */
char *stream_server_exec(StreamServer *server, const Runtime__V1__ExecRequest *request, GError **error);
char *stream_server_attach(StreamServer *server, const Runtime__V1__AttachRequest *request, GError **error);
char *stream_server_port_forward(StreamServer *server, const Runtime__V1__PortForwardRequest *request,
                                 GError **error);
