#include "cri-server/streaming/stream_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/socket.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "cri-server/streaming/negotiate.h"
#include "cri-server/streaming/port_forward.h"
#include "cri-server/streaming/remote_command.h"
#include "cri-server/streaming/token.h"

enum {
    TOKEN_LIFETIME_MS = 60 * 1000,
    MAX_TOKENS = 1000,
    MAX_CONNECTIONS = 2000,
    REQUEST_TIMEOUT_S = 30,
    REQUEST_MEMORY_BYTES = 32 << 10,
    MAX_PEM_BYTES = 1 << 20,
    /* Starting a process waits for its guest; the guest, not this, is what limits. */
    STARTERS = 64,
    GOODBYE_MS = 2000,
};

struct StreamServer {
    StreamLoop loop;
    GMainLoop *main_loop;
    GThread *thread;
    struct MHD_Daemon *http;
    TokenTable *tokens;
    char *base_url;
    char *cert, *key; /* borrowed by libmicrohttpd */
    gint64 idle_ms;
    gint n_connections; /* upgraded ones */
};

/* What a URL stands for. */
typedef struct {
    StreamKind kind;
    RemoteRequest *remote;   /* exec, attach */
    ForwardRequest *forward; /* port-forward */
} Ticket;

static const char *const kind_names[] = {
    [STREAM_EXEC] = "exec", [STREAM_ATTACH] = "attach", [STREAM_PORT_FORWARD] = "portforward"};

static void ticket_free(gpointer data)
{
    Ticket *ticket = data;

    g_clear_pointer(&ticket->remote, remote_request_free);
    g_clear_pointer(&ticket->forward, forward_request_free);
    g_free(ticket);
}

/* ---- an upgraded connection ---- */

/* From the request on libmicrohttpd's thread to the loop's. */
typedef struct {
    StreamServer *server;
    Ticket *ticket;
    StreamProtocol protocol;
    int fd;
    struct MHD_UpgradeResponseHandle *handle;
    GBytes *first;
} Upgrade;

static void upgrade_free(Upgrade *upgrade)
{
    if (upgrade->ticket != NULL)
        ticket_free(upgrade->ticket);
    g_clear_pointer(&upgrade->first, g_bytes_unref);
    g_free(upgrade);
}

static void release(gpointer data)
{
    Upgrade *upgrade = data;

    MHD_upgrade_action(upgrade->handle, MHD_UPGRADE_ACTION_CLOSE);
    g_atomic_int_add(&upgrade->server->n_connections, -1);
    upgrade_free(upgrade);
}

static void serve(gpointer data)
{
    Upgrade *upgrade = data;
    StreamServer *server = upgrade->server;
    gsize n_first;
    const guint8 *first = g_bytes_get_data(upgrade->first, &n_first);
    PeerConfig peer = {.context = server->loop.context,
                       .fd = upgrade->fd,
                       .kind = upgrade->protocol.peer,
                       .half_closes = upgrade->protocol.version >= 5,
                       .idle_ms = server->idle_ms,
                       .release = release,
                       .release_data = upgrade};

    if (upgrade->ticket->kind == STREAM_PORT_FORWARD)
        port_forward_serve(&server->loop, g_steal_pointer(&upgrade->ticket->forward), &peer, first, n_first);
    else
        remote_command_serve(&server->loop, g_steal_pointer(&upgrade->ticket->remote),
                             upgrade->protocol.version, &peer, first, n_first);
}

static void on_upgraded(void *data, struct MHD_Connection *connection, void *request_state,
                        const char *extra_in, size_t extra_in_size, MHD_socket fd,
                        struct MHD_UpgradeResponseHandle *handle)
{
    Upgrade *upgrade = data;

    (void)connection;
    (void)request_state;
    upgrade->fd = fd;
    upgrade->handle = handle;
    upgrade->first = g_bytes_new(extra_in, extra_in_size);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    g_atomic_int_inc(&upgrade->server->n_connections);
    stream_loop_post(&upgrade->server->loop, serve, upgrade);
}

/* ---- requests ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_queue_response(connection, status, response);

    MHD_destroy_response(response);
    return result;
}

typedef struct {
    const char *name;
    GPtrArray *values;
} Header;

static enum MHD_Result collect_header(void *data, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    Header *header = data;

    (void)kind;
    if (value != NULL && g_ascii_strcasecmp(name, header->name) == 0)
        g_ptr_array_add(header->values, g_strdup(value));
    return MHD_YES;
}

static char **header_words(struct MHD_Connection *connection, const char *name)
{
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func(g_free);
    Header header = {name, values};

    MHD_get_connection_values(connection, MHD_HEADER_KIND, collect_header, &header);
    return negotiate_split(values);
}

static gboolean has_word(struct MHD_Connection *connection, const char *name, const char *word)
{
    g_auto(GStrv) words = header_words(connection, name);

    for (char **it = words; *it != NULL; it++)
        if (g_ascii_strcasecmp(*it, word) == 0)
            return TRUE;
    return FALSE;
}

static void add_websocket_headers(struct MHD_Connection *connection, struct MHD_Response *response,
                                  const StreamProtocol *protocol)
{
    const char *key = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Sec-WebSocket-Key");
    g_autofree char *accept = negotiate_websocket_accept(key);

    MHD_add_response_header(response, MHD_HTTP_HEADER_UPGRADE, "websocket");
    MHD_add_response_header(response, "Sec-WebSocket-Accept", accept);
    if (*protocol->protocol != '\0')
        MHD_add_response_header(response, "Sec-WebSocket-Protocol", protocol->protocol);
}

static enum MHD_Result switch_protocols(StreamServer *server, struct MHD_Connection *connection,
                                        Ticket *ticket, const StreamProtocol *protocol)
{
    Upgrade *upgrade = g_new0(Upgrade, 1);
    struct MHD_Response *response;
    enum MHD_Result result;

    upgrade->server = server;
    upgrade->ticket = ticket;
    upgrade->protocol = *protocol;
    response = MHD_create_response_for_upgrade(on_upgraded, upgrade);
    if (protocol->peer == PEER_SPDY) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_UPGRADE, "SPDY/3.1");
        MHD_add_response_header(response, "X-Stream-Protocol-Version", protocol->protocol);
    } else {
        add_websocket_headers(connection, response, protocol);
    }
    result = MHD_queue_response(connection, MHD_HTTP_SWITCHING_PROTOCOLS, response);
    MHD_destroy_response(response);
    if (result != MHD_YES)
        upgrade_free(upgrade);
    return result;
}

/* "/exec/TOKEN" */
static gboolean read_path(const char *url, StreamKind *ret_kind, const char **ret_token)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kind_names); i++) {
        gsize length = strlen(kind_names[i]);

        if (url[0] != '/' || strncmp(url + 1, kind_names[i], length) != 0 || url[1 + length] != '/')
            continue;
        *ret_kind = (StreamKind)i;
        *ret_token = url + length + 2;
        return TRUE;
    }
    return FALSE;
}

/* A URL is used up only by a client that will be served. */
static enum MHD_Result take_request(StreamServer *server, struct MHD_Connection *connection, const char *url)
{
    gboolean is_websocket = has_word(connection, MHD_HTTP_HEADER_UPGRADE, "websocket");
    gboolean is_spdy = has_word(connection, MHD_HTTP_HEADER_UPGRADE, "SPDY/3.1");
    g_auto(GStrv) offered =
        header_words(connection, is_websocket ? "Sec-WebSocket-Protocol" : "X-Stream-Protocol-Version");
    StreamProtocol protocol;
    const char *token;
    Ticket *ticket;
    StreamKind kind;

    if (!read_path(url, &kind, &token))
        return answer(connection, MHD_HTTP_NOT_FOUND, "there is nothing here\n");
    if ((!is_websocket && !is_spdy) || !has_word(connection, MHD_HTTP_HEADER_CONNECTION, "Upgrade") ||
        (is_websocket &&
         MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Sec-WebSocket-Key") == NULL))
        return answer(connection, MHD_HTTP_BAD_REQUEST, "an upgrade to SPDY/3.1 or WebSocket is needed\n");
    if (!negotiate_protocol(kind, is_websocket, (const char *const *)offered, &protocol))
        return answer(
            connection, MHD_HTTP_FORBIDDEN,
            "none of the client's protocols is served (v1 to v4.channel.k8s.io and portforward.k8s.io "
            "over SPDY; v4 and v5.channel.k8s.io and SPDY/3.1+portforward.k8s.io over WebSocket)\n");
    ticket = token_table_take(server->tokens, token);
    if (ticket == NULL)
        return answer(connection, MHD_HTTP_NOT_FOUND,
                      "this URL has been used already, is older than a minute, or never was\n");
    if (ticket->kind != kind) {
        ticket_free(ticket);
        return answer(connection, MHD_HTTP_NOT_FOUND, "this URL is for something else\n");
    }
    return switch_protocols(server, connection, ticket, &protocol);
}

/* Called with the headers first, then with each part of a body, which nobody wants, then for the answer. */
static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_length, void **state)
{
    static char seen;

    (void)method;
    (void)version;
    (void)body;
    if (*state == NULL) {
        *state = &seen;
        return MHD_YES;
    }
    if (*body_length > 0) {
        *body_length = 0;
        return MHD_YES;
    }
    return take_request(data, connection, url);
}

/* ---- the server ---- */

G_GNUC_PRINTF(2, 0)
static void on_http_log(void *data, const char *format, va_list arguments)
{
    g_autofree char *text = g_strdup_vprintf(format, arguments);

    (void)data;
    log_debug(LOG_NO_FIELDS, "streaming: %s", g_strchomp(text));
}

static gboolean read_address(const StreamServerConfig *config, struct sockaddr_storage *ret_address,
                             gsize *ret_length, GError **error)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret_address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_address;

    memset(ret_address, 0, sizeof *ret_address);
    if (inet_pton(AF_INET, config->address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(config->port);
        *ret_length = sizeof *v4;
        return TRUE;
    }
    if (inet_pton(AF_INET6, config->address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(config->port);
        *ret_length = sizeof *v6;
        return TRUE;
    }
    return fail(error, STATUS_INVALID_ARGUMENT, "streaming address: \"%s\" is no IP address",
                config->address);
}

static gboolean read_tls(StreamServer *server, const StreamServerConfig *config, GError **error)
{
    gsize length;

    if (config->tls_cert == NULL && config->tls_key == NULL)
        return TRUE;
    if (config->tls_cert == NULL || config->tls_key == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "streaming: TLS needs both a certificate and a key");
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return fail(error, STATUS_UNIMPLEMENTED, "streaming: libmicrohttpd was built without TLS");
    return file_read(config->tls_cert, MAX_PEM_BYTES, &server->cert, &length, error) &&
           file_read(config->tls_key, MAX_PEM_BYTES, &server->key, &length, error);
}

static gboolean http_start(StreamServer *server, const StreamServerConfig *config, GError **error)
{
    gboolean tls = server->cert != NULL;
    struct sockaddr_storage address;
    gsize length;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, REQUEST_TIMEOUT_S, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MEMORY_BYTES, NULL},
        {MHD_OPTION_SOCK_ADDR, 0, &address},
        {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, server->cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, server->key},
        {MHD_OPTION_END, 0, NULL},
    };

    if (!read_address(config, &address, &length, error))
        return FALSE;
    server->http =
        MHD_start_daemon(MHD_USE_AUTO_INTERNAL_THREAD | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG |
                             (tls ? MHD_USE_TLS : 0) | (address.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0),
                         config->port, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER,
                         on_http_log, NULL, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (server->http == NULL)
        return fail(error, STATUS_UNAVAILABLE, "streaming: cannot listen on %s port %u%s", config->address,
                    config->port, tls ? " with that certificate and key" : "");
    return TRUE;
}

static void set_base_url(StreamServer *server, const StreamServerConfig *config)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->http, MHD_DAEMON_INFO_BIND_PORT);
    gboolean v6 = strchr(config->address, ':') != NULL;

    server->base_url = g_strdup_printf("%s://%s%s%s:%u", server->cert != NULL ? "https" : "http",
                                       v6 ? "[" : "", config->address, v6 ? "]" : "", info->port);
}

static gpointer loop_run(gpointer data)
{
    StreamServer *server = data;

    g_main_context_push_thread_default(server->loop.context);
    g_main_loop_run(server->main_loop);
    g_main_context_pop_thread_default(server->loop.context);
    return NULL;
}

StreamServer *stream_server_open(const StreamServerConfig *config, SandboxManager *sandboxes, GError **error)
{
    StreamServer *server = g_new0(StreamServer, 1);

    server->idle_ms = config->idle_ms;
    server->tokens = token_table_new(TOKEN_LIFETIME_MS, MAX_TOKENS, ticket_free);
    server->loop.sandboxes = sandboxes;
    server->loop.creation_ms = config->creation_ms;
    server->loop.context = g_main_context_new();
    server->loop.users = g_hash_table_new(g_direct_hash, g_direct_equal);
    server->loop.starters = g_thread_pool_new(stream_loop_run_job, NULL, STARTERS, FALSE, NULL);
    server->main_loop = g_main_loop_new(server->loop.context, FALSE);
    server->thread = g_thread_new("streams", loop_run, server);
    if (!read_tls(server, config, error) || !http_start(server, config, error)) {
        stream_server_close(server);
        return NULL;
    }
    set_base_url(server, config);
    log_info(LOG_FIELDS("url", server->base_url), "serving exec, attach and port-forward");
    return server;
}

/* ---- the end ---- */

static void say_goodbye(gpointer data)
{
    StreamServer *server = data;
    g_autofree gpointer *users = g_hash_table_get_keys_as_array(server->loop.users, NULL);

    for (gsize i = 0; users[i] != NULL; i++)
        ((StreamUser *)users[i])->stop(users[i], "crivirtd is being stopped; the pod goes on");
}

static void drop_all(gpointer data)
{
    StreamServer *server = data;
    g_autofree gpointer *users = g_hash_table_get_keys_as_array(server->loop.users, NULL);

    for (gsize i = 0; users[i] != NULL; i++)
        ((StreamUser *)users[i])->drop(users[i]);
}

static void wait_for_clients(StreamServer *server)
{
    for (int waited = 0; waited < GOODBYE_MS && g_atomic_int_get(&server->n_connections) > 0; waited += 10)
        g_usleep(10000);
}

static gboolean quit(gpointer main_loop)
{
    g_main_loop_quit(main_loop);
    return G_SOURCE_REMOVE;
}

static void loop_end(StreamServer *server)
{
    g_main_context_invoke(server->loop.context, quit, server->main_loop);
    g_thread_join(server->thread);
    g_main_loop_unref(server->main_loop);
    g_main_context_unref(server->loop.context);
    g_hash_table_unref(server->loop.users);
}

void stream_server_close(StreamServer *server)
{
    if (server == NULL)
        return;
    if (server->http != NULL) {
        MHD_socket listener = MHD_quiesce_daemon(server->http);

        if (listener != MHD_INVALID_SOCKET)
            shutdown(listener, SHUT_RDWR);
        stream_loop_post(&server->loop, say_goodbye, server);
        wait_for_clients(server);
        stream_loop_post(&server->loop, drop_all, server);
        wait_for_clients(server);
        MHD_stop_daemon(server->http);
    }
    g_thread_pool_free(server->loop.starters, FALSE, TRUE);
    loop_end(server);
    token_table_free(server->tokens);
    g_free(server->base_url);
    g_free(server->cert);
    g_free(server->key);
    g_free(server);
}

const char *stream_server_certificate(const StreamServer *server)
{
    return server->cert;
}

/* ---- URLs ---- */

static char *make_url(StreamServer *server, Ticket *ticket, GError **error)
{
    StreamKind kind = ticket->kind;
    g_autofree char *token = token_table_put(server->tokens, ticket, error);

    return token != NULL ? g_strdup_printf("%s/%s/%s", server->base_url, kind_names[kind], token) : NULL;
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

static Ticket *remote_ticket(StreamKind kind, const char *container_id, gboolean tty, gboolean has_stdin,
                             gboolean has_stdout, gboolean has_stderr)
{
    Ticket *ticket = g_new0(Ticket, 1);
    RemoteRequest *remote = g_new0(RemoteRequest, 1);

    ticket->kind = kind;
    ticket->remote = remote;
    remote->is_attach = kind == STREAM_ATTACH;
    remote->container_id = g_strdup(container_id);
    remote->tty = tty;
    remote->stdin = has_stdin;
    remote->stdout = has_stdout;
    remote->stderr = has_stderr;
    return ticket;
}

char *stream_server_exec(StreamServer *server, const Runtime__V1__ExecRequest *request, GError **error)
{
    Ticket *ticket;

    if (request->n_cmd == 0) {
        fail(error, STATUS_INVALID_ARGUMENT, "cmd is empty");
        return NULL;
    }
    if (!check_streams(request->tty, request->stdin, request->stdout, request->stderr, error) ||
        !session_check_container(server->loop.sandboxes, request->container_id, FALSE, error))
        return NULL;
    ticket = remote_ticket(STREAM_EXEC, request->container_id, request->tty, request->stdin, request->stdout,
                           request->stderr);
    ticket->remote->args = g_new0(char *, request->n_cmd + 1);
    for (size_t i = 0; i < request->n_cmd; i++)
        ticket->remote->args[i] = g_strdup(request->cmd[i]);
    return make_url(server, ticket, error);
}

char *stream_server_attach(StreamServer *server, const Runtime__V1__AttachRequest *request, GError **error)
{
    if (!check_streams(request->tty, request->stdin, request->stdout, request->stderr, error) ||
        !session_check_container(server->loop.sandboxes, request->container_id, TRUE, error))
        return NULL;
    return make_url(server,
                    remote_ticket(STREAM_ATTACH, request->container_id, request->tty, request->stdin,
                                  request->stdout, request->stderr),
                    error);
}

char *stream_server_port_forward(StreamServer *server, const Runtime__V1__PortForwardRequest *request,
                                 GError **error)
{
    g_autoptr(GArray) ports = g_array_new(FALSE, FALSE, sizeof(guint16));
    Ticket *ticket;

    for (size_t i = 0; i < request->n_port; i++) {
        guint16 port = (guint16)request->port[i];

        if (request->port[i] < 1 || request->port[i] > G_MAXUINT16) {
            fail(error, STATUS_INVALID_ARGUMENT, "port: %d is no TCP port", request->port[i]);
            return NULL;
        }
        g_array_append_val(ports, port);
    }
    if (ports->len > 100) {
        fail(error, STATUS_INVALID_ARGUMENT, "port: %u are too many", ports->len);
        return NULL;
    }
    if (!session_check_sandbox(server->loop.sandboxes, request->pod_sandbox_id, error))
        return NULL;
    ticket = g_new0(Ticket, 1);
    ticket->kind = STREAM_PORT_FORWARD;
    ticket->forward = g_new0(ForwardRequest, 1);
    ticket->forward->sandbox_id = g_strdup(request->pod_sandbox_id);
    ticket->forward->ports = g_steal_pointer(&ports);
    return make_url(server, ticket, error);
}
