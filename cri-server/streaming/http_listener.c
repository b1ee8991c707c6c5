/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/http_listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/error.h"
#include "common/log.h"
#include "common/source.h"

enum {
    VISIT_MS = 30000,
    BACKLOG = 512,
    NO_DESCRIPTORS_MS = 200,
    /* TCP keepalive ends the connection of a host that has disappeared after 2 minutes. */
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_INTERVAL_S = 15,
    KEEPALIVE_PROBES = 4,
};

struct HttpListener {
    StreamLoop *loop;
    StreamTls *tls;
    HttpServe serve;
    gpointer data;
    int fd;
    guint16 port;
    GSource *source; /* NULL while no connections are accepted */
    GSource *pause;
    GQueue visits; /* HttpVisit, the oldest first */
};

struct HttpVisit {
    HttpListener *listener;
    GList link; /* of the listener's visits */
    ClientSocket *socket;
    GSource *source, *timer;
    gpointer fd_tag;
    GByteArray *in;
    GString *answer; /* NULL while the request is being read */
    gsize answered;
    gboolean shut; /* the answer has been sent; the client has yet to close */
};

/* ---- one connection ---- */

static void visit_end(gpointer data)
{
    HttpVisit *visit = data;

    g_queue_unlink(&visit->listener->visits, &visit->link);
    source_drop(&visit->source);
    source_drop(&visit->timer);
    client_socket_free(visit->socket);
    g_byte_array_unref(visit->in);
    if (visit->answer != NULL)
        g_string_free(visit->answer, TRUE);
    g_free(visit);
}

static const char *reason_phrase(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    default:
        return "Service Unavailable";
    }
}

void http_visit_refuse(HttpVisit *visit, int status, const char *text)
{
    visit->answer = g_string_new(NULL);
    g_string_printf(visit->answer,
                    "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
                    "Connection: close\r\n\r\n%s\n",
                    status, reason_phrase(status), strlen(text) + 1, text);
}

ClientSocket *http_visit_take(HttpVisit *visit, GBytes **ret_rest)
{
    gsize head = http_head_length(visit->in->data, visit->in->len);

    source_drop(&visit->source);
    *ret_rest = g_bytes_new(visit->in->data + head, visit->in->len - head);
    return g_steal_pointer(&visit->socket);
}

/* Return: FALSE when the connection is over. */
static gboolean visit_read(HttpVisit *visit)
{
    guint8 buffer[TLS_RECORD_BYTES];
    gssize n = client_socket_read(visit->socket, buffer, sizeof buffer);

    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    if (visit->answer == NULL)
        g_byte_array_append(visit->in, buffer, (guint)n);
    return TRUE;
}

static void visit_serve_request(HttpVisit *visit)
{
    gsize head = http_head_length(visit->in->data, visit->in->len);
    g_autoptr(GError) error = NULL;
    g_autoptr(HttpRequest) request = NULL;

    if (head == 0 && visit->in->len < HTTP_HEAD_BYTES)
        return;
    if (head == 0 || head > HTTP_HEAD_BYTES) {
        http_visit_refuse(visit, 400, "the request line and the headers are too long");
        return;
    }
    request = http_request_parse(visit->in->data, head, &error);
    if (request != NULL)
        visit->listener->serve(visit, request, visit->listener->data);
    else
        http_visit_refuse(visit, 400, error->message);
}

static gboolean visit_write_answer(HttpVisit *visit)
{
    while (visit->answered < visit->answer->len) {
        gssize n = client_socket_write(visit->socket, visit->answer->str + visit->answered,
                                       visit->answer->len - visit->answered);

        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        visit->answered += (gsize)n;
    }
    visit->shut = visit->shut || client_socket_shutdown(visit->socket);
    return TRUE;
}

static gboolean on_visit_ready(GSource *source, GSourceFunc callback, gpointer data)
{
    HttpVisit *visit = *(HttpVisit **)(source + 1);
    GIOCondition ready = g_source_query_unix_fd(source, visit->fd_tag);

    (void)callback;
    (void)data;
    if ((ready & client_socket_condition(visit->socket, TRUE, FALSE)) != 0 && !visit_read(visit)) {
        visit_end(visit);
        return G_SOURCE_REMOVE;
    }
    if (visit->answer == NULL)
        visit_serve_request(visit);
    if (visit->socket == NULL || (visit->answer != NULL && !visit_write_answer(visit))) {
        visit_end(visit);
        return G_SOURCE_REMOVE;
    }
    g_source_modify_unix_fd(
        source, visit->fd_tag,
        client_socket_condition(visit->socket, TRUE, visit->answer != NULL && !visit->shut));
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs visit_source_funcs = {.dispatch = on_visit_ready};

static void visit_begin(HttpListener *listener, ClientSocket *socket)
{
    HttpVisit *visit = g_new0(HttpVisit, 1);

    visit->listener = listener;
    visit->socket = socket;
    visit->in = g_byte_array_new();
    visit->source = g_source_new(&visit_source_funcs, sizeof(GSource) + sizeof(HttpVisit *));
    *(HttpVisit **)(visit->source + 1) = visit;
    visit->fd_tag = g_source_add_unix_fd(visit->source, client_socket_fd(socket),
                                         client_socket_condition(socket, TRUE, FALSE));
    g_source_attach(visit->source, listener->loop->context);
    visit->timer = stream_loop_after(listener->loop, VISIT_MS, visit_end, visit);
    visit->link.data = visit;
    g_queue_push_tail_link(&listener->visits, &visit->link);
}

/* ---- accepting ---- */

/* Nagle's algorithm is off, because every write is a whole frame. Keepalive finds clients that disappeared
 * without closing the connection. */
static void set_socket_options(int fd)
{
    const struct {
        int level, option, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        setsockopt(fd, options[i].level, options[i].option, &options[i].value, sizeof options[i].value);
}

/* A client with a valid URL sends its request at once, so the connection that has been silent longest is the
 * least likely to have one. */
static void make_room_for_visit(HttpListener *listener)
{
    while (listener->visits.length >= HTTP_MAX_VISITS)
        visit_end(listener->visits.head->data);
}

static void accept_visit(HttpListener *listener, int fd)
{
    SSL *session = NULL;

    if (listener->tls != NULL && (session = stream_tls_session(listener->tls)) == NULL) {
        close(fd);
        return;
    }
    make_room_for_visit(listener);
    set_socket_options(fd);
    visit_begin(listener, client_socket_new(fd, session));
}

static void resume_accepting(gpointer data)
{
    HttpListener *listener = data;

    source_drop(&listener->pause);
    http_listener_start(listener);
}

static gboolean on_connection(int listening, GIOCondition condition, gpointer data)
{
    HttpListener *listener = data;
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)condition;
    if (fd >= 0) {
        accept_visit(listener, fd);
        return G_SOURCE_CONTINUE;
    }
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
        return G_SOURCE_CONTINUE;
    log_warning(LOG_NO_FIELDS, "streaming server: cannot accept a connection, trying again in %d ms: %s",
                NO_DESCRIPTORS_MS, g_strerror(errno));
    g_clear_pointer(&listener->source, g_source_unref);
    listener->pause = stream_loop_after(listener->loop, NO_DESCRIPTORS_MS, resume_accepting, listener);
    return G_SOURCE_REMOVE;
}

void http_listener_start(gpointer data)
{
    HttpListener *listener = data;

    listener->source = g_unix_fd_source_new(listener->fd, G_IO_IN);
    g_source_set_callback(listener->source, G_SOURCE_FUNC(on_connection), listener, NULL);
    g_source_attach(listener->source, listener->loop->context);
}

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

static gboolean parse_address(const char *text, guint16 port, Address *ret_address, socklen_t *ret_length,
                              GError **error)
{
    memset(ret_address, 0, sizeof *ret_address);
    if (inet_pton(AF_INET, text, &ret_address->v4.sin_addr) == 1) {
        ret_address->v4.sin_family = AF_INET;
        ret_address->v4.sin_port = htons(port);
        *ret_length = sizeof ret_address->v4;
        return TRUE;
    }
    if (inet_pton(AF_INET6, text, &ret_address->v6.sin6_addr) == 1) {
        ret_address->v6.sin6_family = AF_INET6;
        ret_address->v6.sin6_port = htons(port);
        *ret_length = sizeof ret_address->v6;
        return TRUE;
    }
    return fail(error, STATUS_INVALID_ARGUMENT, "streaming address: \"%s\" is not an IP address", text);
}

static gboolean listen_on(HttpListener *listener, const char *text, guint16 port, GError **error)
{
    const int yes = 1;
    socklen_t length;
    Address address;

    if (!parse_address(text, port, &address, &length, error))
        return FALSE;
    listener->fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0 || setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(listener->fd, &address.any, length) < 0 || listen(listener->fd, BACKLOG) < 0 ||
        getsockname(listener->fd, &address.any, &length) < 0)
        return fail(error, STATUS_UNAVAILABLE, "streaming: cannot listen on %s port %u: %s", text, port,
                    g_strerror(errno));
    listener->port = ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
    return TRUE;
}

HttpListener *http_listener_open(StreamLoop *loop, const char *address, guint16 port, StreamTls *tls,
                                 HttpServe serve, gpointer data, GError **error)
{
    HttpListener *listener = g_new0(HttpListener, 1);

    listener->loop = loop;
    listener->tls = tls;
    listener->serve = serve;
    listener->data = data;
    listener->fd = -1;
    g_queue_init(&listener->visits);
    if (listen_on(listener, address, port, error))
        return listener;
    http_listener_close(listener);
    return NULL;
}

guint16 http_listener_port(const HttpListener *listener)
{
    return listener->port;
}

void http_listener_close(gpointer data)
{
    HttpListener *listener = data;

    if (listener == NULL)
        return;
    source_drop(&listener->source);
    source_drop(&listener->pause);
    while (listener->visits.head != NULL)
        visit_end(listener->visits.head->data);
    if (listener->fd >= 0)
        close(listener->fd);
    g_free(listener);
}
