/* The server's end of a client's connection: TCP, or TLS over it. Never blocks; one thread.
 *
 * The TLS handshake happens while it is read. Reading with TLS_RECORD_BYTES of room or more leaves nothing in
 * it that the descriptor does not show.
 */
#pragma once

#include <glib.h>
#include <openssl/types.h>
#include <sys/types.h>

typedef struct ClientSocket ClientSocket;

enum { TLS_RECORD_BYTES = 16 << 10 };

/* Takes both over. tls: NULL without. */
ClientSocket *client_socket_new(int fd, SSL *tls);
void client_socket_free(ClientSocket *socket); /* closes it; takes NULL */
int client_socket_fd(const ClientSocket *socket);

/* As recv() and send(): -1 with errno, which is EAGAIN when it cannot be done now. What write() refused so is
 * given to it again, as much or more. */
gssize client_socket_read(ClientSocket *socket, void *buffer, gsize room);
gssize client_socket_write(ClientSocket *socket, const void *bytes, gsize length);
/* Tells the client that nothing more comes. FALSE: not possible now. */
gboolean client_socket_shutdown(ClientSocket *socket);

/* What to wait for on the descriptor before reading or writing again: TLS may have to write in order to read.
 * Without reads it still shows that the client has gone. */
GIOCondition client_socket_condition(const ClientSocket *socket, gboolean reads, gboolean writes);
