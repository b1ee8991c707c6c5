/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/stream_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/error.h"

enum { CONNECT_TIMEOUT_S = 10 };

struct StreamSocket {
    int fd;
    SSL_CTX *context; /* NULL: no TLS */
    SSL *tls;
};

/* ---- TCP ---- */

static int connect_to(const char *host, guint16 port, GError **error)
{
    g_autoptr(GSocketAddress) address = g_inet_socket_address_new_from_string(host, port);
    struct timeval limit = {.tv_sec = CONNECT_TIMEOUT_S};
    struct sockaddr_storage native;
    gssize size = address != NULL ? g_socket_address_get_native_size(address) : -1;
    int fd;

    if (size < 0 || !g_socket_address_to_native(address, &native, sizeof native, NULL)) {
        fail(error, STATUS_INTERNAL, "crivirtd's streaming address \"%s\" is not an IP address", host);
        return -1;
    }
    fd = socket(native.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
        connect(fd, (struct sockaddr *)&native, (socklen_t)size) < 0) {
        fail_errno(error, errno, "cannot connect to crivirtd's streaming server at %s port %u", host, port);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

/* ---- TLS ---- */

static gboolean fail_tls(const char *doing, GError **error)
{
    char text[256] = "the connection was closed";
    unsigned long code = ERR_get_error();

    if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return fail(error, STATUS_UNAVAILABLE, "%s: %s", doing, text);
}

static gboolean is_expected(SSL *tls, const char *certificate)
{
    X509 *got = SSL_get1_peer_certificate(tls);
    BIO *text = BIO_new_mem_buf(certificate, -1);
    X509 *expected = text != NULL ? PEM_read_bio_X509(text, NULL, NULL, NULL) : NULL;
    gboolean same = got != NULL && expected != NULL && X509_cmp(got, expected) == 0;

    X509_free(got);
    X509_free(expected);
    BIO_free(text);
    ERR_clear_error();
    return same;
}

static gboolean start_tls(StreamSocket *socket, const char *certificate, GError **error)
{
    socket->context = SSL_CTX_new(TLS_client_method());
    if (socket->context == NULL)
        return fail_tls("preparing TLS", error);
    SSL_CTX_set_min_proto_version(socket->context, TLS1_2_VERSION);
    SSL_CTX_set_mode(socket->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    socket->tls = SSL_new(socket->context);
    if (socket->tls == NULL || SSL_set_fd(socket->tls, socket->fd) != 1)
        return fail_tls("preparing TLS", error);
    if (SSL_connect(socket->tls) != 1)
        return fail_tls("TLS with crivirtd's streaming server", error);
    if (!is_expected(socket->tls, certificate))
        return fail(error, STATUS_UNAUTHENTICATED,
                    "the server at crivirtd's streaming address does not have crivirtd's certificate");
    return TRUE;
}

/* The result in the style of recv() and send(). */
static ssize_t tls_result(SSL *tls, int result)
{
    int why = SSL_get_error(tls, result);

    if (result > 0)
        return result;
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = why == SSL_ERROR_SYSCALL && errno != 0 ? errno : EIO;
    return -1;
}

/* ---- TCP or TLS ---- */

StreamSocket *stream_socket_open(const char *host, guint16 port, const char *certificate, GError **error)
{
    StreamSocket *socket = g_new0(StreamSocket, 1);

    socket->fd = connect_to(host, port, error);
    if (socket->fd >= 0 && (certificate == NULL || start_tls(socket, certificate, error)))
        return socket;
    stream_socket_close(socket);
    return NULL;
}

void stream_socket_close(StreamSocket *socket)
{
    if (socket == NULL)
        return;
    SSL_free(socket->tls);
    SSL_CTX_free(socket->context);
    if (socket->fd >= 0)
        close(socket->fd);
    g_free(socket);
}

void stream_socket_unblock(StreamSocket *socket)
{
    fcntl(socket->fd, F_SETFL, fcntl(socket->fd, F_GETFL) | O_NONBLOCK);
}

int stream_socket_fd(const StreamSocket *socket)
{
    return socket->fd;
}

ssize_t stream_socket_read(StreamSocket *socket, void *buffer, gsize room)
{
    if (socket->tls == NULL)
        return TEMP_FAILURE_RETRY(recv(socket->fd, buffer, room, 0));
    return tls_result(socket->tls, SSL_read(socket->tls, buffer, (int)MIN(room, (gsize)G_MAXINT)));
}

ssize_t stream_socket_write(StreamSocket *socket, const void *bytes, gsize length)
{
    if (socket->tls == NULL)
        return TEMP_FAILURE_RETRY(send(socket->fd, bytes, length, MSG_NOSIGNAL));
    return tls_result(socket->tls, SSL_write(socket->tls, bytes, (int)MIN(length, (gsize)G_MAXINT)));
}
