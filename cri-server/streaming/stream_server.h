/* The streaming server behind Exec, Attach and PortForward: gives out one-time URLs and serves their clients.
 *
 * One thread (stream_loop.h) serves all connections, whatever their number. Functions may be called from any
 * thread. Errors: INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, RESOURCE_EXHAUSTED (too many URLs that
 * nobody has used).
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

/* The configuration is read now, but for the files, which are read again when they change; sandboxes is
 * borrowed. */
StreamServer *stream_server_open(const StreamServerConfig *config, SandboxManager *sandboxes, GError **error);
/* Tells every client that the server ends, and ends. Takes NULL. */
void stream_server_close(StreamServer *server);

/* The certificate (PEM) that clients are shown now; NULL without TLS. The caller frees it. */
char *stream_server_certificate(StreamServer *server);

/* URLs for one use within the configuration's url_ms; the caller frees them. */
char *stream_server_exec(StreamServer *server, const Runtime__V1__ExecRequest *request, GError **error);
char *stream_server_attach(StreamServer *server, const Runtime__V1__AttachRequest *request, GError **error);
char *stream_server_port_forward(StreamServer *server, const Runtime__V1__PortForwardRequest *request,
                                 GError **error);
