/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/client_socket.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

struct ClientSocket {
    int fd;
    SSL *tls; /* NULL: no TLS */
    gboolean read_waits_to_write;
};

ClientSocket *client_socket_new(int fd, SSL *tls)
{
    ClientSocket *client = g_new0(ClientSocket, 1);

    client->fd = fd;
    client->tls = tls;
    if (tls != NULL && SSL_set_fd(tls, fd) != 1)
        g_error("out of memory");
    return client;
}

void client_socket_free(ClientSocket *client)
{
    if (client == NULL)
        return;
    SSL_free(client->tls);
    close(client->fd);
    g_free(client);
}

int client_socket_fd(const ClientSocket *client)
{
    return client->fd;
}

/* tls_result() reads OpenSSL's error queue and errno, so both are cleared before each call. */
static void clear_tls_errors(void)
{
    ERR_clear_error();
    errno = 0;
}

/* Without renegotiation a write never waits for a read, so EAGAIN from a write always means that the socket
 * is full. Return: as recv() and send(). */
static gssize tls_result(SSL *tls, int result)
{
    int why;

    if (result > 0)
        return result;
    why = SSL_get_error(tls, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    else if (why != SSL_ERROR_SYSCALL || errno == 0 || errno == EAGAIN)
        errno = EPROTO;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

gssize client_socket_read(ClientSocket *client, void *buffer, gsize room)
{
    gssize result;

    if (client->tls == NULL)
        return TEMP_FAILURE_RETRY(recv(client->fd, buffer, room, MSG_DONTWAIT));
    clear_tls_errors();
    result = tls_result(client->tls, SSL_read(client->tls, buffer, (int)MIN(room, (gsize)G_MAXINT)));
    client->read_waits_to_write = result < 0 && SSL_want_write(client->tls);
    return result;
}

gssize client_socket_write(ClientSocket *client, const void *bytes, gsize length)
{
    if (client->tls == NULL)
        return TEMP_FAILURE_RETRY(send(client->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT));
    clear_tls_errors();
    return tls_result(client->tls, SSL_write(client->tls, bytes, (int)MIN(length, (gsize)G_MAXINT)));
}

gboolean client_socket_shutdown(ClientSocket *client)
{
    if (client->tls != NULL && SSL_is_init_finished(client->tls)) {
        int result;

        clear_tls_errors();
        result = SSL_shutdown(client->tls);
        if (result < 0 && tls_result(client->tls, result) < 0 && errno == EAGAIN)
            return FALSE;
    }
    shutdown(client->fd, SHUT_WR);
    return TRUE;
}

GIOCondition client_socket_condition(const ClientSocket *client, gboolean reads, gboolean writes)
{
    GIOCondition condition = G_IO_HUP | G_IO_ERR;

    if (reads)
        condition |= client->read_waits_to_write ? G_IO_OUT : G_IO_IN;
    else
        condition |= (GIOCondition)POLLRDHUP; /* GLib waits with poll() and passes its flags on */
    return writes ? condition | G_IO_OUT : condition;
}
