/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/stream_server.h"

#include <string.h>

#include "common/error.h"
#include "common/log.h"
#include "cri-server/streaming/http_listener.h"
#include "cri-server/streaming/negotiate.h"
#include "cri-server/streaming/port_forward.h"
#include "cri-server/streaming/remote_command.h"
#include "cri-server/streaming/token.h"
#include "sandbox/container/stream_open.h"
#include "sandbox/pod/stream_dial.h"

enum {
    MAX_TOKENS = 1000,
    MAX_CLIENTS = 2000,
    /* Threads that wait for guests to start a process. The guests limit the rate of starts, not this number,
     * and one pod's guest may leave all its starts waiting. */
    STARTERS = 256,
    STARTERS_OF_A_POD = 16,
    MAX_FORWARDED_PORTS = 100,
    GOODBYE_MS = 2000,
};

struct StreamServer {
    StreamLoop loop;
    GMainLoop *main_loop;
    GThread *thread;
    StreamTls *tls; /* NULL: no TLS */
    HttpListener *listener;
    TokenTable *tokens;
    char *base_url;
    gint64 idle_ms;
};

/* The request that a URL was issued for. */
typedef struct {
    StreamKind kind;
    RemoteRequest *remote;   /* exec, attach */
    ForwardRequest *forward; /* port-forward */
} Ticket;

static void ticket_free(gpointer data)
{
    Ticket *ticket = data;

    g_clear_pointer(&ticket->remote, remote_request_free);
    g_clear_pointer(&ticket->forward, forward_request_free);
    g_free(ticket);
}

/* ---- clients ---- */

static void serve_client(StreamServer *server, Ticket *ticket, const StreamUpgrade *upgrade,
                         const char *greeting, HttpVisit *visit)
{
    g_autoptr(GBytes) rest = NULL;
    PeerConfig peer = {.context = server->loop.context,
                       .socket = http_visit_take(visit, &rest),
                       .greeting = greeting,
                       .kind = upgrade->protocol.peer,
                       .half_closes = upgrade->protocol.version >= 5,
                       .idle_ms = server->idle_ms};
    gsize n_first;
    const guint8 *first = g_bytes_get_data(rest, &n_first);

    if (ticket->kind == STREAM_PORT_FORWARD)
        port_forward_serve(&server->loop, g_steal_pointer(&ticket->forward), &peer, first, n_first);
    else
        remote_command_serve(&server->loop, g_steal_pointer(&ticket->remote), upgrade->protocol.version,
                             &peer, first, n_first);
    ticket_free(ticket);
}

/* The token is taken after the other checks, so that a request that is refused for another reason does not
 * use up its URL. */
static void on_request(HttpVisit *visit, const HttpRequest *request, gpointer data)
{
    StreamServer *server = data;
    g_autofree char *greeting = NULL;
    StreamUpgrade upgrade;
    const char *problem;
    Ticket *ticket;
    int status = negotiate_upgrade(request, &upgrade, &problem);

    if (status != 0) {
        http_visit_refuse(visit, status, problem);
        return;
    }
    if (g_hash_table_size(server->loop.users) >= MAX_CLIENTS) {
        http_visit_refuse(visit, 503,
                          "the streaming server has reached its limit of clients; try again later");
        return;
    }
    ticket = token_table_take(server->tokens, upgrade.token);
    if (ticket == NULL) {
        http_visit_refuse(visit, 404, "this URL has been used already, has expired, or was never issued");
        return;
    }
    if (ticket->kind != upgrade.kind) {
        ticket_free(ticket);
        http_visit_refuse(visit, 404, "this URL was issued for another kind of request");
        return;
    }
    greeting = negotiate_answer(request, &upgrade);
    serve_client(server, ticket, &upgrade, greeting, visit);
}

/* ---- the server ---- */

static gboolean open_tls(StreamServer *server, const Settings *settings, GError **error)
{
    const char *certificate = settings->streaming.tls_cert;
    const char *key = settings->streaming.tls_key;

    if (*certificate == '\0' && *key == '\0')
        return TRUE;
    if (*certificate == '\0' || *key == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "streaming: TLS needs both a certificate and a key");
    server->tls = stream_tls_open(certificate, key, error);
    return server->tls != NULL;
}

static gboolean listener_start(StreamServer *server, const Settings *settings, GError **error)
{
    server->listener =
        http_listener_open(&server->loop, settings->streaming.address, (guint16)settings->streaming.port,
                           server->tls, on_request, server, error);
    if (server->listener == NULL)
        return FALSE;
    stream_loop_post(&server->loop, http_listener_start, server->listener);
    return TRUE;
}

static void set_base_url(StreamServer *server, const Settings *settings)
{
    gboolean v6 = strchr(settings->streaming.address, ':') != NULL;

    server->base_url =
        g_strdup_printf("%s://%s%s%s:%u", server->tls != NULL ? "https" : "http", v6 ? "[" : "",
                        settings->streaming.address, v6 ? "]" : "", http_listener_port(server->listener));
}

static gpointer loop_thread_run(gpointer data)
{
    StreamServer *server = data;

    g_main_context_push_thread_default(server->loop.context);
    g_main_loop_run(server->main_loop);
    g_main_context_pop_thread_default(server->loop.context);
    return NULL;
}

StreamServer *stream_server_open(const Settings *settings, SandboxManager *sandboxes, GError **error)
{
    StreamServer *server = g_new0(StreamServer, 1);

    server->idle_ms = settings->streaming.idle_timeout_ms;
    server->tokens = token_table_new(settings->streaming.url_timeout_ms, MAX_TOKENS, ticket_free);
    server->loop.sandboxes = sandboxes;
    server->loop.creation_ms = settings->streaming.creation_timeout_ms;
    server->loop.context = g_main_context_new();
    server->loop.users = g_hash_table_new(g_direct_hash, g_direct_equal);
    server->loop.starters = fair_pool_new(STARTERS, STARTERS_OF_A_POD, stream_loop_run_job);
    server->main_loop = g_main_loop_new(server->loop.context, FALSE);
    server->thread = g_thread_new("streams", loop_thread_run, server);
    if (!open_tls(server, settings, error) || !listener_start(server, settings, error)) {
        stream_server_close(server);
        return NULL;
    }
    set_base_url(server, settings);
    log_info(LOG_FIELDS("url", server->base_url), "serving exec, attach and port-forward");
    return server;
}

void stream_server_ask(StreamServer *server, void (*function)(gpointer data), gpointer data)
{
    stream_loop_post(&server->loop, function, data);
}

/* ---- ending ---- */

static void stop_all_clients(gpointer data)
{
    StreamServer *server = data;
    g_autofree gpointer *users = g_hash_table_get_keys_as_array(server->loop.users, NULL);

    http_listener_close(server->listener);
    g_atomic_pointer_set(&server->listener, NULL);
    for (gsize i = 0; users[i] != NULL; i++)
        ((StreamUser *)users[i])->stop(users[i], "crivirtd is stopping; the pod keeps running");
}

static void drop_all_clients(gpointer data)
{
    StreamServer *server = data;
    g_autofree gpointer *users = g_hash_table_get_keys_as_array(server->loop.users, NULL);

    for (gsize i = 0; users[i] != NULL; i++)
        ((StreamUser *)users[i])->drop(users[i]);
}

static void wait_for_clients(StreamServer *server)
{
    for (int waited = 0; waited < GOODBYE_MS && (g_atomic_pointer_get(&server->listener) != NULL ||
                                                 g_atomic_int_get(&server->loop.n_users) > 0);
         waited += 10)
        g_usleep(10000);
}

static gboolean quit_loop(gpointer main_loop)
{
    g_main_loop_quit(main_loop);
    return G_SOURCE_REMOVE;
}

static void loop_thread_end(StreamServer *server)
{
    g_main_context_invoke(server->loop.context, quit_loop, server->main_loop);
    g_thread_join(server->thread);
    g_main_loop_unref(server->main_loop);
    g_main_context_unref(server->loop.context);
    g_hash_table_unref(server->loop.users);
}

void stream_server_close(StreamServer *server)
{
    if (server == NULL)
        return;
    stream_loop_post(&server->loop, stop_all_clients, server);
    wait_for_clients(server);
    stream_loop_post(&server->loop, drop_all_clients, server);
    wait_for_clients(server);
    fair_pool_free(server->loop.starters);
    loop_thread_end(server);
    token_table_free(server->tokens);
    g_free(server->base_url);
    stream_tls_close(server->tls);
    g_free(server);
}

char *stream_server_certificate(StreamServer *server)
{
    return server->tls != NULL ? stream_tls_certificate(server->tls) : NULL;
}

/* ---- URLs ---- */

static char *make_url(StreamServer *server, Ticket *ticket, GError **error)
{
    StreamKind kind = ticket->kind;
    g_autofree char *token = token_table_put(server->tokens, ticket, error);

    return token != NULL ? g_strdup_printf("%s/%s/%s", server->base_url, negotiate_kind_name(kind), token)
                         : NULL;
}

static gboolean check_streams(gboolean tty, gboolean has_stdin, gboolean has_stdout, gboolean has_stderr,
                              GError **error)
{
    if (tty && has_stderr)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "tty and stderr cannot both be set: a terminal's output is all stdout");
    if (!has_stdin && !has_stdout && !has_stderr)
        return fail(error, STATUS_INVALID_ARGUMENT, "one of stdin, stdout and stderr must be set");
    return TRUE;
}

/* Takes sandbox_id. */
static Ticket *remote_ticket(StreamKind kind, const char *container_id, char *sandbox_id, gboolean tty,
                             gboolean has_stdin, gboolean has_stdout, gboolean has_stderr)
{
    Ticket *ticket = g_new0(Ticket, 1);
    RemoteRequest *remote = g_new0(RemoteRequest, 1);

    ticket->kind = kind;
    ticket->remote = remote;
    remote->is_attach = kind == STREAM_ATTACH;
    remote->container_id = g_strdup(container_id);
    remote->sandbox_id = sandbox_id;
    remote->tty = tty;
    remote->stdin = has_stdin;
    remote->stdout = has_stdout;
    remote->stderr = has_stderr;
    return ticket;
}

static char *exec_url(StreamServer *server, const Runtime__V1__ExecRequest *request, gboolean in_guest,
                      GError **error)
{
    char *sandbox_id = NULL;
    Ticket *ticket;

    if (request->n_cmd == 0) {
        fail(error, STATUS_INVALID_ARGUMENT, "cmd is empty");
        return NULL;
    }
    if (!check_streams(request->tty, request->stdin, request->stdout, request->stderr, error) ||
        !stream_session_check_exec(server->loop.sandboxes, request->container_id, in_guest, &sandbox_id,
                                   error))
        return NULL;
    ticket = remote_ticket(STREAM_EXEC, request->container_id, sandbox_id, request->tty, request->stdin,
                           request->stdout, request->stderr);
    ticket->remote->in_guest = in_guest;
    ticket->remote->args = g_new0(char *, request->n_cmd + 1);
    for (size_t i = 0; i < request->n_cmd; i++)
        ticket->remote->args[i] = g_strdup(request->cmd[i]);
    return make_url(server, ticket, error);
}

char *stream_server_exec(StreamServer *server, const Runtime__V1__ExecRequest *request, GError **error)
{
    return exec_url(server, request, FALSE, error);
}

char *stream_server_exec_in_guest(StreamServer *server, const Runtime__V1__ExecRequest *request,
                                  GError **error)
{
    return exec_url(server, request, TRUE, error);
}

char *stream_server_attach(StreamServer *server, const Runtime__V1__AttachRequest *request, GError **error)
{
    char *sandbox_id = NULL;

    if (!check_streams(request->tty, request->stdin, request->stdout, request->stderr, error) ||
        !stream_session_check_attach(server->loop.sandboxes, request->container_id, &sandbox_id, error))
        return NULL;
    return make_url(server,
                    remote_ticket(STREAM_ATTACH, request->container_id, sandbox_id, request->tty,
                                  request->stdin, request->stdout, request->stderr),
                    error);
}

char *stream_server_port_forward(StreamServer *server, const Runtime__V1__PortForwardRequest *request,
                                 GError **error)
{
    g_autoptr(GArray) ports = g_array_new(FALSE, FALSE, sizeof(guint16));
    char *sandbox_id = NULL;
    Ticket *ticket;

    for (size_t i = 0; i < request->n_port; i++) {
        guint16 port = (guint16)request->port[i];

        if (request->port[i] < 1 || request->port[i] > G_MAXUINT16) {
            fail(error, STATUS_INVALID_ARGUMENT, "port: %d is not a TCP port, which is between 1 and 65535",
                 request->port[i]);
            return NULL;
        }
        g_array_append_val(ports, port);
    }
    if (ports->len > MAX_FORWARDED_PORTS) {
        fail(error, STATUS_INVALID_ARGUMENT,
             "port: %u ports are more than the %d that one request may forward", ports->len,
             MAX_FORWARDED_PORTS);
        return NULL;
    }
    if (!stream_session_check_sandbox(server->loop.sandboxes, request->pod_sandbox_id, &sandbox_id, error))
        return NULL;
    ticket = g_new0(Ticket, 1);
    ticket->kind = STREAM_PORT_FORWARD;
    ticket->forward = g_new0(ForwardRequest, 1);
    ticket->forward->sandbox_id = sandbox_id;
    ticket->forward->ports = g_steal_pointer(&ports);
    return make_url(server, ticket, error);
}
