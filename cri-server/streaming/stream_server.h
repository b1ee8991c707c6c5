/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming server behind Exec, Attach and PortForward: issues one-time URLs and serves the clients that
 * use them.
 *
 * Errors of the functions that issue URLs: INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION,
 * RESOURCE_EXHAUSTED (too many unused URLs).
 *
 * Threads: one thread (stream_loop.h) serves all connections. Functions may be called from any thread.
 */
#pragma once

#include "api.pb-c.h"
#include "sandbox/sandbox.h"

typedef struct StreamServer StreamServer;

typedef struct {
    const char *address;            /* an IP address */
    guint16 port;                   /* 0: the kernel chooses one */
    const char *tls_cert, *tls_key; /* PEM files; both are set, or none */
    gint64 idle_ms;                 /* time without a byte after which a client is disconnected */
    gint64 creation_ms;             /* time for a client to open its streams */
    gint64 url_ms;                  /* time in which a URL must be used */
} StreamServerConfig;

/* Starts the server. Return: NULL on failure. Ownership: the configuration is copied, sandboxes is borrowed.
 * Errors: INVALID_ARGUMENT for a bad address or certificate, UNAVAILABLE when the port cannot be opened. */
StreamServer *stream_server_open(const StreamServerConfig *config, SandboxManager *sandboxes, GError **error);
/* Ends all clients' requests with a message, and frees the server. Blocks until the clients have left, for a
 * few seconds at most, and until no process is being started. Takes NULL. */
void stream_server_close(StreamServer *server);

/* Return: the certificate (PEM) that clients are shown now, which the caller frees; NULL without TLS. */
char *stream_server_certificate(StreamServer *server);

/* Return: a URL for one use within the configuration's url_ms, which the caller frees; NULL on failure. */
char *stream_server_exec(StreamServer *server, const Runtime__V1__ExecRequest *request, GError **error);
char *stream_server_attach(StreamServer *server, const Runtime__V1__AttachRequest *request, GError **error);
char *stream_server_port_forward(StreamServer *server, const Runtime__V1__PortForwardRequest *request,
                                 GError **error);
