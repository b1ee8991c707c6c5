/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming server's listening socket, with clients on the loopback. */
#include "cri-server/streaming/http_listener.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

typedef struct {
    StreamLoop loop;
    HttpListener *listener;
    GString *seen; /* the paths of the requests */
    ClientSocket *taken;
    GBytes *rest;
} Fixture;

static void serve(HttpVisit *visit, const HttpRequest *request, gpointer data)
{
    Fixture *fixture = data;

    g_string_append_printf(fixture->seen, "%s;", request->path);
    if (g_str_equal(request->path, "/no"))
        http_visit_refuse(visit, 403, "not that");
    else
        fixture->taken = http_visit_take(visit, &fixture->rest);
}

static void fixture_init(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    memset(fixture, 0, sizeof *fixture);
    fixture->loop.context = g_main_context_new();
    fixture->seen = g_string_new(NULL);
    fixture->listener = http_listener_open(&fixture->loop, "127.0.0.1", 0, NULL, serve, fixture, &error);
    TEST_OK(fixture->listener != NULL, error);
    http_listener_start(fixture->listener);
}

static void fixture_clear(Fixture *fixture)
{
    http_listener_close(fixture->listener);
    client_socket_free(fixture->taken);
    g_clear_pointer(&fixture->rest, g_bytes_unref);
    g_string_free(fixture->seen, TRUE);
    g_main_context_unref(fixture->loop.context);
}

static int client_new(const Fixture *fixture)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_listener_port(fixture->listener))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Runs the loop until it has nothing more to do. Return: how often it had something to do. */
static int run(Fixture *fixture)
{
    int n = 0;

    while (n < 10000 && g_main_context_iteration(fixture->loop.context, FALSE))
        n++;
    return n;
}

static void say(Fixture *fixture, int fd, const char *text)
{
    CU_ASSERT_EQUAL(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    run(fixture);
}

/* Reads up to the end. Return: the text, which the caller frees. */
static char *hear(int fd)
{
    GString *text = g_string_new(NULL);
    char buffer[512];
    ssize_t n;

    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
        g_string_append_len(text, buffer, n);
    return g_string_free(text, FALSE);
}

static void serves_requests_in_pieces(void)
{
    Fixture fixture;
    int fd;

    fixture_init(&fixture);
    fd = client_new(&fixture);
    say(&fixture, fd, "GET /exec/x HT");
    say(&fixture, fd, "TP/1.1\r\nHost: h\r\n\r");
    CU_ASSERT_PTR_NULL(fixture.taken);
    say(&fixture, fd, "\nrest");
    CU_ASSERT_STRING_EQUAL(fixture.seen->str, "/exec/x;");
    CU_ASSERT_PTR_NOT_NULL_FATAL(fixture.taken);
    CU_ASSERT_EQUAL(g_bytes_get_size(fixture.rest), 4);
    CU_ASSERT_EQUAL(client_socket_write(fixture.taken, "hello", 5), 5);
    g_clear_pointer(&fixture.taken, client_socket_free);
    close(fd);
    fixture_clear(&fixture);
}

static void refuses(const char *request, const char *status, const char *why)
{
    g_autofree char *answer = NULL;
    Fixture fixture;
    int fd;

    fixture_init(&fixture);
    fd = client_new(&fixture);
    say(&fixture, fd, request);
    answer = hear(fd); /* the answer ends, because the client's half is closed */
    CU_ASSERT_TRUE(g_str_has_prefix(answer, status));
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, why));
    say(&fixture, fd, "more that nobody reads");
    close(fd);
    CU_ASSERT_TRUE(run(&fixture) < 10);
    fixture_clear(&fixture);
}

static void tells_who_is_refused(void)
{
    g_autofree char *padding = g_strnfill(HTTP_HEAD_BYTES, 'x');
    g_autofree char *endless = g_strconcat("GET / HTTP/1.1\r\na: ", padding, NULL);

    refuses("GET /no HTTP/1.1\r\n\r\n", "HTTP/1.1 403 Forbidden\r\n", "\r\n\r\nnot that\n");
    refuses("hello\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "request line is not METHOD");
    refuses(endless, "HTTP/1.1 400 Bad Request\r\n", "too long");
}

static void silent_clients_do_not_delay_others(void)
{
    Fixture fixture;
    int silent[20];
    int fd;

    fixture_init(&fixture);
    for (gsize i = 0; i < G_N_ELEMENTS(silent); i++)
        silent[i] = client_new(&fixture);
    fd = client_new(&fixture);
    say(&fixture, fd, "GET /attach/x HTTP/1.1\r\n\r\n");
    CU_ASSERT_STRING_EQUAL(fixture.seen->str, "/attach/x;");
    for (gsize i = 0; i < G_N_ELEMENTS(silent) / 2; i++)
        close(silent[i]);
    CU_ASSERT_TRUE(run(&fixture) < 100);
    http_listener_close(g_steal_pointer(&fixture.listener));
    for (gsize i = G_N_ELEMENTS(silent) / 2; i < G_N_ELEMENTS(silent); i++) {
        g_autofree char *answer = hear(silent[i]);

        CU_ASSERT_STRING_EQUAL(answer, "");
        close(silent[i]);
    }
    close(fd);
    fixture_clear(&fixture);
}

/* Some of the silent clients have begun a request, and others have been refused and do not close. */
static void silent_clients_keep_none_out(void)
{
    enum { N_SILENT = HTTP_MAX_VISITS + 100 };
    struct rlimit descriptors;
    Fixture fixture;
    int silent[N_SILENT];
    int fd;
    char byte;

    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &descriptors), 0);
    descriptors.rlim_cur = descriptors.rlim_max; /* this process has both ends of each connection */
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &descriptors), 0);
    fixture_init(&fixture);
    for (gsize i = 0; i < N_SILENT; i++) {
        static const char *const sends[] = {"", "GET /exec/", "GET /no HTTP/1.1\r\n\r\n"};

        silent[i] = client_new(&fixture);
        say(&fixture, silent[i], sends[i % 3]);
    }
    fd = client_new(&fixture);
    say(&fixture, fd, "GET /exec/x HTTP/1.1\r\n\r\n");
    CU_ASSERT_TRUE(g_str_has_suffix(fixture.seen->str, "/exec/x;"));
    CU_ASSERT_PTR_NOT_NULL(fixture.taken);
    CU_ASSERT_EQUAL(recv(silent[0], &byte, 1, MSG_DONTWAIT), 0); /* the oldest was disconnected */
    CU_ASSERT_EQUAL(recv(silent[N_SILENT - 3], &byte, 1, MSG_DONTWAIT), -1);
    for (gsize i = 0; i < N_SILENT; i++)
        close(silent[i]);
    close(fd);
    run(&fixture);
    fixture_clear(&fixture);
}

static void names_addresses_that_do_not_do(void)
{
    g_autoptr(GError) no_address = NULL;
    g_autoptr(GError) taken = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    TEST_FAILS(http_listener_open(&fixture.loop, "localhost", 0, NULL, serve, NULL, &no_address) != NULL,
               no_address, STATUS_INVALID_ARGUMENT, "\"localhost\" is not an IP address");
    TEST_FAILS(http_listener_open(&fixture.loop, "127.0.0.1", http_listener_port(fixture.listener), NULL,
                                  serve, NULL, &taken) != NULL,
               taken, STATUS_UNAVAILABLE, "cannot listen on 127.0.0.1 port");
    fixture_clear(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a request may come in pieces, and the bytes after it go to the handler", serves_requests_in_pieces},
        {"a refused client gets the reason", tells_who_is_refused},
        {"silent clients do not delay others, and are disconnected when the listener is freed",
         silent_clients_do_not_delay_others},
        {"however many clients are silent, a client that sends its request is served",
         silent_clients_keep_none_out},
        {"the message names an address that cannot be used", names_addresses_that_do_not_do},
    };

    return test_main("http_listener", cases, G_N_ELEMENTS(cases));
}
