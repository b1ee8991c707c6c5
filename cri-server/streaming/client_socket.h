/* SPDX-License-Identifier: Apache-2.0 */
/* The server's end of a client's connection: TCP, or TLS over it. Never blocks.
 *
 * The TLS handshake happens while the socket is read. Reading with room for TLS_RECORD_BYTES or more leaves
 * no bytes in TLS that the descriptor does not show.
 *
 * Threads: one.
 */
#pragma once

#include <glib.h>
#include <openssl/types.h>
#include <sys/types.h>

typedef struct ClientSocket ClientSocket;

enum { TLS_RECORD_BYTES = 16 << 10 };

/* Ownership: takes both. tls is NULL for plain TCP. */
ClientSocket *client_socket_new(int fd, SSL *tls);
void client_socket_free(ClientSocket *socket); /* closes it; takes NULL */
int client_socket_fd(const ClientSocket *socket);

/* Like recv() and send(): -1 with errno, which is EAGAIN when nothing is possible now. The caller passes
 * bytes that write() refused again, the same number or more. */
gssize client_socket_read(ClientSocket *socket, void *buffer, gsize room);
gssize client_socket_write(ClientSocket *socket, const void *bytes, gsize length);
/* Tells the client that no more bytes follow. Return: FALSE: not possible now. */
gboolean client_socket_shutdown(ClientSocket *socket);

/* Return: the events to wait for on the descriptor before reading or writing again; TLS may have to write in
 * order to read. Without reads they still show that the client has disconnected. */
GIOCondition client_socket_condition(const ClientSocket *socket, gboolean reads, gboolean writes);
