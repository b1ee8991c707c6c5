/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens, negotiation, outcomes, terminal sizes, and WebSocket channels on a real socket. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/streaming/negotiate.h"
#include "cri-server/streaming/peer.h"
#include "cri-server/streaming/status.h"
#include "cri-server/streaming/token.h"
#include "tests/unit/harness.h"

static void tokens_hold_once(void)
{
    g_autoptr(GError) error = NULL;
    TokenTable *table = token_table_new(10000, 2, g_free);
    g_autofree char *first = token_table_put(table, g_strdup("a"), &error);
    g_autofree char *second = token_table_put(table, g_strdup("b"), &error);
    g_autofree char *value = token_table_take(table, first);

    CU_ASSERT_EQUAL(strlen(first), 48);
    CU_ASSERT_STRING_NOT_EQUAL(first, second);
    CU_ASSERT_STRING_EQUAL(value, "a");
    CU_ASSERT_PTR_NULL(token_table_take(table, first));
    CU_ASSERT_PTR_NULL(token_table_take(table, ""));
    token_table_free(table);
}

static void tokens_are_few_and_grow_old(void)
{
    g_autoptr(GError) error = NULL;
    TokenTable *table = token_table_new(20, 1, g_free);
    g_autofree char *first = token_table_put(table, g_strdup("a"), &error);
    g_autofree char *second = NULL;

    TEST_FAILS(token_table_put(table, g_strdup("b"), &error) != NULL, error, STATUS_RESOURCE_EXHAUSTED,
               "have not been used yet");
    g_usleep(30 * 1000);
    CU_ASSERT_PTR_NULL(token_table_take(table, first));
    second = token_table_put(table, g_strdup("c"), &error);
    CU_ASSERT_PTR_NOT_NULL(second);
    token_table_free(table);
}

static void client_chooses_first(void)
{
    static const char *const exec[] = {"v9.channel.k8s.io", "v5.channel.k8s.io", "v4.channel.k8s.io", NULL};
    static const char *const tunnel[] = {"SPDY/3.1+portforward.k8s.io", NULL};
    static const char *const none[] = {NULL};
    StreamProtocol protocol;

    CU_ASSERT_TRUE(negotiate_protocol(STREAM_EXEC, TRUE, exec, &protocol));
    CU_ASSERT_EQUAL(protocol.version, 5);
    CU_ASSERT_TRUE(negotiate_protocol(STREAM_ATTACH, FALSE, exec, &protocol));
    CU_ASSERT_EQUAL(protocol.version, 4);
    CU_ASSERT_EQUAL(protocol.peer, PEER_SPDY);
    CU_ASSERT_TRUE(negotiate_protocol(STREAM_PORT_FORWARD, TRUE, tunnel, &protocol));
    CU_ASSERT_EQUAL(protocol.peer, PEER_TUNNEL);
    CU_ASSERT_FALSE(negotiate_protocol(STREAM_PORT_FORWARD, FALSE, exec, &protocol));
    CU_ASSERT_FALSE(negotiate_protocol(STREAM_EXEC, FALSE, none, &protocol));
    CU_ASSERT_TRUE(negotiate_protocol(STREAM_EXEC, TRUE, none, &protocol));
}

#define HEAD(line, ...) line "\r\nHost: h\r\n" __VA_ARGS__ "\r\n"

static HttpRequest *request_of(const char *head, GError **error)
{
    CU_ASSERT_EQUAL(http_head_length((const guint8 *)head, strlen(head)), strlen(head));
    return http_request_parse((const guint8 *)head, strlen(head), error);
}

static void reads_requests(void)
{
    static const char head[] =
        HEAD("POST /exec/abc?x=/y HTTP/1.1", "Content-Length: 0\r\nCONNECTION: keep-alive,\r\n"
                                             "Accept:\t a , b,\r\naccept: c \r\n");
    g_autoptr(GError) error = NULL;
    g_autoptr(HttpRequest) request = request_of(head, &error);
    g_auto(GStrv) words = http_request_words(request, "accept");

    TEST_OK(request != NULL, error);
    CU_ASSERT_STRING_EQUAL(request->path, "/exec/abc");
    CU_ASSERT_STRING_EQUAL(http_request_header(request, "host"), "h");
    CU_ASSERT_PTR_NULL(http_request_header(request, "upgrade"));
    CU_ASSERT_EQUAL(g_strv_length(words), 3);
    CU_ASSERT_STRING_EQUAL(words[2], "c");
    CU_ASSERT_TRUE(http_request_has_word(request, "connection", "Keep-Alive"));
    for (gsize length = 0; length < sizeof head - 1; length++)
        CU_ASSERT_EQUAL(http_head_length((const guint8 *)head, length), 0);
}

static void refuses_other_requests(void)
{
    static const struct {
        const char *head, *problem;
    } bad[] = {
        {"\r\n\r\n", "is empty"},
        {HEAD("GET / HTTP/2.0"), "request line"},
        {HEAD("GET http://h/exec/x HTTP/1.1"), "request line"},
        {HEAD("GET  /exec/x HTTP/1.1"), "request line"},
        {HEAD("GET /exec/x HTTP/1.1", " folded: x\r\n"), "NAME: VALUE"},
        {HEAD("GET /exec/x HTTP/1.1", "no colon\r\n"), "NAME: VALUE"},
        {HEAD("GET /exec/x HTTP/1.1", "space : x\r\n"), "NAME: VALUE"},
        {HEAD("GET /exec/x HTTP/1.1", "a: b\nc: d\r\n"), "control characters"},
        {HEAD("POST /exec/x HTTP/1.1", "Content-Length: 3\r\n"), "must not have a body"},
        {HEAD("POST /exec/x HTTP/1.1", "Transfer-Encoding: chunked\r\n"), "must not have a body"},
    };
    static const char with_nul[] = "GET /exec/x HTTP/1.1\r\na: \0\r\n\r\n";

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        TEST_FAILS(http_request_parse((const guint8 *)bad[i].head, strlen(bad[i].head), &error) != NULL,
                   error, STATUS_INVALID_ARGUMENT, bad[i].problem);
    }
    CU_ASSERT_PTR_NULL(http_request_parse((const guint8 *)with_nul, sizeof with_nul - 1, NULL));
}

#define WEBSOCKET                                                                                            \
    "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"                 \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define SPDY "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"

static void upgrades_to_what_is_asked_for(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(HttpRequest) websocket = request_of(
        HEAD("GET /attach/T HTTP/1.1", WEBSOCKET "Sec-WebSocket-Protocol: v9.x, v5.channel.k8s.io\r\n"),
        &error);
    g_autoptr(HttpRequest) spdy = request_of(
        HEAD("POST /portforward/T HTTP/1.1", SPDY "X-Stream-Protocol-Version: portforward.k8s.io\r\n"),
        &error);
    g_autofree char *websocket_answer = NULL;
    g_autofree char *spdy_answer = NULL;
    const char *problem = NULL;
    StreamUpgrade upgrade;

    CU_ASSERT_EQUAL(negotiate_upgrade(websocket, &upgrade, &problem), 0);
    CU_ASSERT_EQUAL(upgrade.kind, STREAM_ATTACH);
    CU_ASSERT_STRING_EQUAL(upgrade.token, "T");
    CU_ASSERT_EQUAL(upgrade.protocol.version, 5);
    websocket_answer = negotiate_answer(websocket, &upgrade);
    CU_ASSERT_STRING_EQUAL(websocket_answer,
                           "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                           "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" /* RFC 6455, 1.3 */
                           "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n");
    CU_ASSERT_EQUAL(negotiate_upgrade(spdy, &upgrade, &problem), 0);
    CU_ASSERT_EQUAL(upgrade.kind, STREAM_PORT_FORWARD);
    spdy_answer = negotiate_answer(spdy, &upgrade);
    CU_ASSERT_STRING_EQUAL(spdy_answer,
                           "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                           "X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n");
}

static void refuses_other_upgrades(void)
{
    static const struct {
        const char *head;
        int status;
    } bad[] = {
        {HEAD("GET /else/T HTTP/1.1", WEBSOCKET), 404},
        {HEAD("GET /exec HTTP/1.1", WEBSOCKET), 404},
        {HEAD("GET /exec/T HTTP/1.1"), 400},
        {HEAD("POST /exec/T HTTP/1.1", WEBSOCKET), 400},
        {HEAD("GET /exec/T HTTP/1.1", "Upgrade: SPDY/3.1\r\n"), 400},
        {HEAD("GET /exec/T HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), 400},
        {HEAD("GET /exec/T HTTP/1.1", SPDY), 403},
        {HEAD("GET /portforward/T HTTP/1.1", WEBSOCKET), 403},
        {HEAD("GET /exec/T HTTP/1.1", SPDY "X-Stream-Protocol-Version: v5.channel.k8s.io\r\n"), 403},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(HttpRequest) request = request_of(bad[i].head, NULL);
        const char *problem = NULL;
        StreamUpgrade upgrade;

        CU_ASSERT_EQUAL(negotiate_upgrade(request, &upgrade, &problem), bad[i].status);
        CU_ASSERT_PTR_NOT_NULL(problem);
    }
}

static void tells_outcomes(void)
{
    g_autofree char *success = status_exit_code(0);
    g_autofree char *failure = status_exit_code(3);

    CU_ASSERT_STRING_EQUAL(success, "{\"metadata\":{},\"status\":\"Success\"}");
    CU_ASSERT_STRING_EQUAL(failure,
                           "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with "
                           "non-zero exit code: 3\",\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":"
                           "[{\"reason\":\"ExitCode\",\"message\":\"3\"}]}}");
}

static void reads_sizes(void)
{
    static const char text[] = "{\"Width\":80,\"Height\":24}\n{\"Wid";
    static const char rest[] = "th\":132,\"Height\":43}{\"Width\":0,\"Height\":1}";
    ResizeReader reader = {.length = 0};
    guint columns = 0;
    guint rows = 0;

    CU_ASSERT_TRUE(resize_reader_feed(&reader, (const guint8 *)text, strlen(text), &columns, &rows));
    CU_ASSERT_EQUAL(columns, 80);
    CU_ASSERT_TRUE(resize_reader_feed(&reader, (const guint8 *)rest, strlen(rest), &columns, &rows));
    CU_ASSERT_EQUAL(columns, 132);
    CU_ASSERT_EQUAL(rows, 43);
}

/* --- a connection -------------------------------------------------------------------------------------- */

typedef struct {
    GMainContext *context;
    Peer *peer;
    GString *log;
    int fd; /* the client's end */
} Connection;

static void on_received(guint32 stream, const guint8 *bytes, gsize length, gpointer data)
{
    g_string_append_printf(((Connection *)data)->log, "data %u %.*s;", stream, (int)length,
                           (const char *)bytes);
}

static void on_ended(guint32 stream, gboolean reset, gpointer data)
{
    g_string_append_printf(((Connection *)data)->log, "%s %u;", reset ? "reset" : "end", stream);
}

static gboolean on_opened(guint32 stream, GHashTable *headers, gpointer data)
{
    (void)stream;
    (void)headers;
    (void)data;
    return FALSE;
}

static void on_writable(gpointer data)
{
    (void)data;
}

static void on_gone(gpointer data)
{
    g_string_append(((Connection *)data)->log, "gone;");
}

static void connection_open(Connection *connection, PeerKind kind)
{
    static const PeerEvents events = {on_opened, on_received, on_ended, on_writable, on_gone};
    PeerConfig config = {.kind = kind, .half_closes = TRUE, .idle_ms = 60000};
    int ends[2];

    memset(connection, 0, sizeof *connection);
    connection->log = g_string_new(NULL);
    connection->context = g_main_context_new();
    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    connection->fd = ends[0];
    config.context = connection->context;
    config.socket = client_socket_new(ends[1], NULL);
    peer_start(&config, NULL, 0, &events, connection, &connection->peer);
}

static void connection_run(Connection *connection)
{
    while (g_main_context_iteration(connection->context, FALSE))
        continue;
}

static void connection_close(Connection *connection)
{
    close(connection->fd);
    connection_run(connection);
    CU_ASSERT_TRUE(g_str_has_suffix(connection->log->str, "gone;"));
    g_main_context_unref(connection->context);
    g_string_free(connection->log, TRUE);
}

/* Sends a frame whose mask is zeros. */
static void send_frame(Connection *connection, guint8 opcode, const char *payload, guint8 length)
{
    guint8 frame[6 + 125] = {(guint8)(0x80 | opcode), (guint8)(0x80 | length)};

    memcpy(frame + 6, payload, length);
    CU_ASSERT_EQUAL(write(connection->fd, frame, 6 + (gsize)length), 6 + (gssize)length);
}

static void channels_carry_bytes(void)
{
    Connection connection;
    guint8 got[64];

    connection_open(&connection, PEER_CHANNELS);
    send_frame(&connection, 2, "\0hello", 6);
    send_frame(&connection, 2, "\xff\0", 2);
    connection_run(&connection);
    CU_ASSERT_STRING_EQUAL(connection.log->str, "data 0 hello;end 0;");
    peer_send(connection.peer, 1, "out", 3);
    CU_ASSERT_EQUAL(read(connection.fd, got, sizeof got), 6);
    CU_ASSERT_EQUAL(memcmp(got, "\x82\x04\x01out", 6), 0);
    connection_close(&connection);
}

static void channels_speak_base64(void)
{
    Connection connection;
    guint8 got[64];

    connection_open(&connection, PEER_CHANNELS_BASE64);
    send_frame(&connection, 1, "0aGVsbG8=", 9);
    connection_run(&connection);
    CU_ASSERT_STRING_EQUAL(connection.log->str, "data 0 hello;");
    peer_send(connection.peer, 1, "out", 3);
    CU_ASSERT_EQUAL(read(connection.fd, got, sizeof got), 7);
    CU_ASSERT_EQUAL(memcmp(got,
                           "\x81\x05"
                           "1b3V0",
                           7),
                    0);
    connection_close(&connection);
}

static void who_does_not_read_has_no_room(void)
{
    g_autofree guint8 *much = g_malloc0(1 << 20);
    Connection connection;

    connection_open(&connection, PEER_CHANNELS);
    CU_ASSERT_TRUE(peer_room(connection.peer, 1) > 0);
    peer_send(connection.peer, 1, much, 1 << 20);
    CU_ASSERT_EQUAL(peer_room(connection.peer, 1), 0);
    connection_close(&connection);
}

/* ---- clients that send what is answered, and do not read ---- */

typedef struct {
    PeerKind kind;
    const guint8 *request; /* one frame; its answer is as long as `answer` */
    gsize n_request;
    gsize answer;
} Flood;

static gboolean wants_write(int fd)
{
    GPollFD poll = {.fd = fd, .events = G_IO_OUT};

    return g_poll(&poll, 1, 0) == 1;
}

/* Writes whole frames until neither the server nor the sockets take more. Return: how many were begun;
 * *ret_left is the rest of the last one. */
static gsize flood_until_full(Connection *connection, const Flood *flood, gsize most, gsize *ret_left)
{
    gsize n_written = 0;
    ssize_t n;

    while (n_written < most && wants_write(connection->fd)) {
        gsize at = n_written % flood->n_request;

        n = write(connection->fd, flood->request + at, flood->n_request - at);
        CU_ASSERT_TRUE_FATAL(n > 0);
        n_written += (gsize)n;
        if (n_written % (32 << 10) < flood->n_request || !wants_write(connection->fd))
            connection_run(connection);
    }
    *ret_left = (flood->n_request - n_written % flood->n_request) % flood->n_request;
    return (n_written + *ret_left) / flood->n_request;
}

static gsize read_all(Connection *connection)
{
    guint8 bytes[32 << 10];
    gsize total = 0;
    ssize_t n;

    do {
        connection_run(connection);
        n = read(connection->fd, bytes, sizeof bytes);
        total += n > 0 ? (gsize)n : 0;
    } while (n > 0);
    return total;
}

/* The bound is that of the daemon's memory and of the buffers of both sockets. */
static void flood_is_bounded(const Flood *flood)
{
    enum { BOUND_BYTES = 4 << 20 };
    Connection connection;
    gsize n_requests;
    gsize left;
    gsize got;

    connection_open(&connection, flood->kind);
    n_requests = flood_until_full(&connection, flood, 8 * BOUND_BYTES, &left);
    CU_ASSERT_TRUE(n_requests * flood->n_request < BOUND_BYTES);
    CU_ASSERT_TRUE(n_requests * flood->answer < BOUND_BYTES);
    CU_ASSERT_STRING_EQUAL(connection.log->str, "");
    got = read_all(&connection); /* and the connection goes on */
    if (left > 0)
        CU_ASSERT_EQUAL(write(connection.fd, flood->request + flood->n_request - left, left), (ssize_t)left);
    got += read_all(&connection);
    CU_ASSERT_EQUAL(got, n_requests * flood->answer);
    CU_ASSERT_EQUAL(write(connection.fd, flood->request, flood->n_request), (ssize_t)flood->n_request);
    CU_ASSERT_EQUAL(read_all(&connection), flood->answer);
    connection_close(&connection);
}

static void who_floods_and_does_not_read_is_not_read(void)
{
    static const guint8 spdy_ping[] = {0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1};
    static const guint8 tunnel_ping[] = {0x82, 0x8c, 0, 0, 0, 0, 0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1};
    static const guint8 websocket_ping[] = {0x89, 0x84, 0, 0, 0, 0, 'p', 'i', 'n', 'g'};
    const Flood floods[] = {
        {PEER_SPDY, spdy_ping, sizeof spdy_ping, 12},
        {PEER_TUNNEL, tunnel_ping, sizeof tunnel_ping, 2 + 12},
        {PEER_CHANNELS, websocket_ping, sizeof websocket_ping, 2 + 4},
        {PEER_TUNNEL, websocket_ping, sizeof websocket_ping, 2 + 4},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(floods); i++)
        flood_is_bounded(&floods[i]);
}

/* No stream takes the bytes that the client sent before. Without this check the connection would stay until
 * something is written to it. */
static void who_goes_while_held_is_gone(void)
{
    Connection connection;

    connection_open(&connection, PEER_CHANNELS);
    peer_hold(connection.peer, TRUE);
    send_frame(&connection, 2, "\0hello", 6);
    connection_run(&connection);
    CU_ASSERT_STRING_EQUAL(connection.log->str, "");
    CU_ASSERT_EQUAL(shutdown(connection.fd, SHUT_WR), 0);
    connection_run(&connection);
    CU_ASSERT_STRING_EQUAL(connection.log->str, "gone;");
    connection_close(&connection);
}

static void invalid_frames_end_the_connection(void)
{
    Connection connection;

    connection_open(&connection, PEER_SPDY);
    CU_ASSERT_EQUAL(write(connection.fd, "nonsense, and then some", 23), 23);
    connection_run(&connection);
    connection_close(&connection);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a token is valid once, and a guessed one never", tokens_hold_once},
        {"tokens are limited in number and in time", tokens_are_few_and_grow_old},
        {"the client's first protocol that the server supports is chosen", client_chooses_first},
        {"a request's head is read, however its headers are written", reads_requests},
        {"a request that does not ask for a stream is refused", refuses_other_requests},
        {"a connection is upgraded to the requested protocol", upgrades_to_what_is_asked_for},
        {"an upgrade that is not served is refused with the reason", refuses_other_upgrades},
        {"the outcome is sent as a Status", tells_outcomes},
        {"terminal sizes may be cut anywhere, and invalid ones are skipped", reads_sizes},
        {"WebSocket channels carry bytes and half-close", channels_carry_bytes},
        {"WebSocket channels carry base64 as well", channels_speak_base64},
        {"a client that does not read is reported to have no room", who_does_not_read_has_no_room},
        {"a client that floods with pings and reads no answer is not read until it has read them",
         who_floods_and_does_not_read_is_not_read},
        {"a client that disconnects while it is not read is noticed at once", who_goes_while_held_is_gone},
        {"invalid frames end the connection", invalid_frames_end_the_connection},
    };

    return test_main("streaming", cases, G_N_ELEMENTS(cases));
}
