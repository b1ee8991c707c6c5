/* The streaming server behind Exec, Attach and PortForward: gives out one-time URLs and serves their clients.
 *
 * HTTP by libmicrohttpd on a thread of its own; upgraded connections are served by one more thread
 * (stream_loop.h), whatever their number. Functions may be called from any thread. Errors: INVALID_ARGUMENT,
 * NOT_FOUND, FAILED_PRECONDITION, RESOURCE_EXHAUSTED (too many URLs that nobody has used).
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
} StreamServerConfig;

/* The configuration is read now; sandboxes is borrowed. */
StreamServer *stream_server_open(const StreamServerConfig *config, SandboxManager *sandboxes, GError **error);
/* Tells every client that the server ends, and ends. Takes NULL. */
void stream_server_close(StreamServer *server);

/* What was configured as its certificate (PEM); NULL without TLS. Borrowed. */
const char *stream_server_certificate(const StreamServer *server);

/* URLs for one use within a minute; the caller frees them. */
char *stream_server_exec(StreamServer *server, const Runtime__V1__ExecRequest *request, GError **error);
char *stream_server_attach(StreamServer *server, const Runtime__V1__AttachRequest *request, GError **error);
char *stream_server_port_forward(StreamServer *server, const Runtime__V1__PortForwardRequest *request,
                                 GError **error);
