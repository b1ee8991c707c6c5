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
#include "common/settings/settings.h"
#include "sandbox/sandbox.h"

typedef struct StreamServer StreamServer;

/* Starts the server with the options of [streaming]. Return: NULL on failure. Ownership: sandboxes is
 * borrowed. Errors: INVALID_ARGUMENT for a bad address or certificate, UNAVAILABLE when the port cannot be
 * opened. */
StreamServer *stream_server_open(const Settings *settings, SandboxManager *sandboxes, GError **error);
/* For checks whether the server moves: runs function(data) soon on its thread. Threads: any. */
void stream_server_ask(StreamServer *server, void (*function)(gpointer data), gpointer data);
/* Ends all clients' requests with a message, and frees the server. Blocks until the clients have left, for a
 * few seconds at most, and until no process is being started. Takes NULL. */
void stream_server_close(StreamServer *server);

/* Return: the certificate (PEM) that clients are shown now, which the caller frees; NULL without TLS. */
char *stream_server_certificate(StreamServer *server);

/* Return: a URL for one use within streaming.url_timeout, which the caller frees; NULL on failure. */
char *stream_server_exec(StreamServer *server, const Runtime__V1__ExecRequest *request, GError **error);
/* The command runs in the guest of the container's pod, outside of the container. */
char *stream_server_exec_in_guest(StreamServer *server, const Runtime__V1__ExecRequest *request,
                                  GError **error);
char *stream_server_attach(StreamServer *server, const Runtime__V1__AttachRequest *request, GError **error);
char *stream_server_port_forward(StreamServer *server, const Runtime__V1__PortForwardRequest *request,
                                 GError **error);
