/* SPDX-License-Identifier: Apache-2.0 */
/* The server's end of a client's connection: TCP, or TLS over it. No function blocks.
 *
 * The TLS handshake is made by client_socket_read(). A caller that reads with room for at least
 * TLS_RECORD_BYTES leaves no decrypted bytes inside OpenSSL, so waiting for the descriptor is enough.
 *
 * Threads: one thread at a time.
 */
#pragma once

#include <glib.h>
#include <openssl/types.h>
#include <sys/types.h>

typedef struct ClientSocket ClientSocket;

enum { TLS_RECORD_BYTES = 16 << 10 };

/* Makes the server's end from a connected descriptor. tls: NULL for plain TCP. Ownership: takes fd and tls.
 */
ClientSocket *client_socket_new(int fd, SSL *tls);
void client_socket_free(ClientSocket *socket); /* also closes the descriptor; takes NULL */
int client_socket_fd(const ClientSocket *socket);

/* Read and write like recv() and send(). After a write that failed with EAGAIN the caller passes the same
 * bytes again, and may add more. Return: the number of bytes; 0: the client has closed its half; -1 with
 * errno, which is EAGAIN when the call would block. */
gssize client_socket_read(ClientSocket *socket, void *buffer, gsize room);
gssize client_socket_write(ClientSocket *socket, const void *bytes, gsize length);
/* Closes the server's half of the connection. Return: FALSE when the call would block and has to be
 * repeated. */
gboolean client_socket_shutdown(ClientSocket *socket);

/* Return: the events to wait for on the descriptor before the next read or write. A TLS read may have to
 * wait until the descriptor is writable. Without reads the events still show that the client has
 * disconnected. */
GIOCondition client_socket_condition(const ClientSocket *socket, gboolean reads, gboolean writes);
