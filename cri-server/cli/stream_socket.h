/* A connection to the streaming server: TCP, or TLS over it.
 *
 * A certificate is not checked against names and authorities: crivirtd itself has said, over its own socket,
 * which one its streaming server has, and no other is accepted.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct StreamSocket StreamSocket;

/* Blocks for some seconds at most; so do reading and writing until stream_socket_unblock(). host: numeric.
 * certificate: PEM, the first of its chain counts; NULL: without TLS. */
StreamSocket *stream_socket_open(const char *host, guint16 port, const char *certificate, GError **error);
void stream_socket_close(StreamSocket *socket); /* takes NULL */

void stream_socket_unblock(StreamSocket *socket);
int stream_socket_fd(const StreamSocket *socket);
/* Like recv() and send(): -1 with errno, EAGAIN when nothing can be done now. Read until EAGAIN before
 * waiting for the descriptor: TLS may hold bytes that it does not show. */
ssize_t stream_socket_read(StreamSocket *socket, void *buffer, gsize room);
ssize_t stream_socket_write(StreamSocket *socket, const void *bytes, gsize length);
