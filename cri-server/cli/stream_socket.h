/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to the streaming server: TCP, or TLS over it.
 *
 * A certificate is not checked against names and authorities. Instead only one certificate is accepted: the
 * one that crivirtd itself reported over its own socket.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct StreamSocket StreamSocket;

/* Blocks for at most some seconds, as do reading and writing until stream_socket_unblock(). host is numeric.
 * certificate is PEM, of whose chain the first one counts; NULL: no TLS. */
StreamSocket *stream_socket_open(const char *host, guint16 port, const char *certificate, GError **error);
void stream_socket_close(StreamSocket *socket); /* takes NULL */

void stream_socket_unblock(StreamSocket *socket);
int stream_socket_fd(const StreamSocket *socket);
/* Like recv() and send(): -1 with errno, which is EAGAIN when nothing is possible now. Read until EAGAIN
 * before waiting for the descriptor, because TLS may have buffered bytes. */
ssize_t stream_socket_read(StreamSocket *socket, void *buffer, gsize room);
ssize_t stream_socket_write(StreamSocket *socket, const void *bytes, gsize length);
