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
               "wait for their clients");
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

static void splits_headers(void)
{
    g_autoptr(GPtrArray) headers = g_ptr_array_new();
    g_auto(GStrv) words = NULL;
    g_autofree char *accept = negotiate_websocket_accept("dGhlIHNhbXBsZSBub25jZQ==");

    g_ptr_array_add(headers, (char *)"a, b,");
    g_ptr_array_add(headers, (char *)" c");
    words = negotiate_split(headers);
    CU_ASSERT_EQUAL(g_strv_length(words), 3);
    CU_ASSERT_STRING_EQUAL(words[2], "c");
    CU_ASSERT_STRING_EQUAL(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); /* RFC 6455, 1.3 */
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
    int server_fd;
    gboolean released;
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

static void release(gpointer data)
{
    ((Connection *)data)->released = TRUE;
}

static void connection_open(Connection *connection, PeerKind kind)
{
    static const PeerEvents events = {on_opened, on_received, on_ended, on_writable, on_gone};
    PeerConfig config = {.kind = kind, .half_closes = TRUE, .idle_ms = 60000, .release = release};
    int ends[2];

    memset(connection, 0, sizeof *connection);
    connection->log = g_string_new(NULL);
    connection->context = g_main_context_new();
    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    connection->fd = ends[0];
    connection->server_fd = ends[1];
    config.context = connection->context;
    config.fd = ends[1];
    config.release_data = connection;
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
    CU_ASSERT_TRUE(connection->released);
    CU_ASSERT_TRUE(g_str_has_suffix(connection->log->str, "gone;"));
    close(connection->server_fd);
    g_main_context_unref(connection->context);
    g_string_free(connection->log, TRUE);
}

/* Masked with zeros. */
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

static void nonsense_ends_the_connection(void)
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
        {"a token is good once, and for nobody who guesses", tokens_hold_once},
        {"tokens are limited in number and in time", tokens_are_few_and_grow_old},
        {"the first protocol of the client's that is served is chosen", client_chooses_first},
        {"lists in headers are split, and WebSocket keys answered", splits_headers},
        {"an outcome is a Status", tells_outcomes},
        {"terminal sizes may be cut anywhere, and nonsense is skipped", reads_sizes},
        {"WebSocket channels carry bytes and half-close", channels_carry_bytes},
        {"WebSocket channels speak base64, too", channels_speak_base64},
        {"a client that does not read has no room", who_does_not_read_has_no_room},
        {"nonsense ends the connection", nonsense_ends_the_connection},
    };

    return test_main("streaming", cases, G_N_ELEMENTS(cases));
}
