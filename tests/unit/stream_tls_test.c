/* SPDX-License-Identifier: Apache-2.0 */
/* TLS of the streaming server's connections, with a client of OpenSSL's on a socket pair. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/streaming/client_socket.h"
#include "cri-server/streaming/peer.h"
#include "cri-server/streaming/stream_tls.h"
#include "tests/unit/harness.h"

/* ---- certificates ---- */

typedef struct {
    char *dir, *cert, *key;
} Files;

static void write_pem(const char *path, X509 *cert, EVP_PKEY *key)
{
    FILE *file = fopen(path, "w");

    if (cert != NULL)
        PEM_write_X509(file, cert);
    else
        PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
}

/* A path that is NULL is not written. */
static void make_certificate(const char *name, const char *cert_path, const char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const guchar *)name, -1, -1,
                               0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_sign(cert, key, EVP_sha256());
    if (cert_path != NULL)
        write_pem(cert_path, cert, NULL);
    if (key_path != NULL)
        write_pem(key_path, NULL, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void files_make(Files *files)
{
    files->dir = test_directory();
    files->cert = g_build_filename(files->dir, "tls.crt", NULL);
    files->key = g_build_filename(files->dir, "tls.key", NULL);
    make_certificate("first", files->cert, files->key);
}

static void files_clear(Files *files)
{
    g_free(files->dir);
    g_free(files->cert);
    g_free(files->key);
}

/* ---- a connection ---- */

typedef struct {
    Files files;
    StreamTls *tls;
    ClientSocket *server; /* NULL: a peer has it */
    SSL_CTX *context;
    SSL *client;
    int fd;
} Pair;

static void pair_make(Pair *pair)
{
    g_autoptr(GError) error = NULL;
    int ends[2];

    memset(pair, 0, sizeof *pair);
    files_make(&pair->files);
    pair->tls = stream_tls_open(pair->files.cert, pair->files.key, &error);
    TEST_OK(pair->tls != NULL, error);
    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    pair->server = client_socket_new(ends[0], stream_tls_session(pair->tls));
    pair->fd = ends[1];
    pair->context = SSL_CTX_new(TLS_client_method());
    pair->client = SSL_new(pair->context);
    SSL_set_fd(pair->client, pair->fd);
    SSL_set_connect_state(pair->client);
}

static void pair_clear(Pair *pair)
{
    client_socket_free(pair->server);
    SSL_free(pair->client);
    SSL_CTX_free(pair->context);
    close(pair->fd);
    stream_tls_close(pair->tls);
    files_clear(&pair->files);
}

/* Return: whether both sides complete the handshake. */
static gboolean handshake(Pair *pair)
{
    guint8 byte;

    for (int i = 0; i < 10; i++) {
        int done = SSL_do_handshake(pair->client);
        gssize n = client_socket_read(pair->server, &byte, 1);

        if (n >= 0 || errno != EAGAIN ||
            (done <= 0 && SSL_get_error(pair->client, done) != SSL_ERROR_WANT_READ))
            return FALSE;
        if (done == 1 && i > 3)
            return TRUE;
    }
    return FALSE;
}

static char *shown_name(SSL *client)
{
    X509 *cert = SSL_get1_peer_certificate(client);
    char name[64] = "";

    if (cert != NULL)
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
    X509_free(cert);
    return g_strdup(name);
}

static void carries_bytes(void)
{
    Pair pair;
    char got[64];

    pair_make(&pair);
    CU_ASSERT_TRUE(handshake(&pair));
    CU_ASSERT_EQUAL(SSL_write(pair.client, "to you", 6), 6);
    CU_ASSERT_EQUAL(client_socket_read(pair.server, got, sizeof got), 6);
    CU_ASSERT_EQUAL(client_socket_read(pair.server, got, sizeof got), -1);
    CU_ASSERT_EQUAL(errno, EAGAIN);
    CU_ASSERT_EQUAL(client_socket_write(pair.server, "to me", 5), 5);
    CU_ASSERT_EQUAL(SSL_read(pair.client, got, sizeof got), 5);
    CU_ASSERT_TRUE(client_socket_shutdown(pair.server));
    CU_ASSERT_EQUAL(SSL_read(pair.client, got, sizeof got), 0);
    CU_ASSERT_EQUAL(SSL_get_error(pair.client, 0), SSL_ERROR_ZERO_RETURN);
    CU_ASSERT_EQUAL(SSL_write(pair.client, "last", 4), 4);
    SSL_shutdown(pair.client);
    CU_ASSERT_EQUAL(client_socket_read(pair.server, got, sizeof got), 4);
    CU_ASSERT_EQUAL(client_socket_read(pair.server, got, sizeof got), 0);
    pair_clear(&pair);
}

/* The sockets take as much as they hold; the rest is sent later, and every byte once. */
static void waits_for_who_does_not_read(void)
{
    enum { MUCH = 4 << 20 };
    g_autofree guint8 *bytes = g_malloc(MUCH);
    g_autofree guint8 *got = g_malloc(MUCH);
    gsize n_sent = 0;
    gsize n_got = 0;
    gssize n;
    Pair pair;

    for (gsize i = 0; i < MUCH; i++)
        bytes[i] = (guint8)(i * 31 >> 5);
    pair_make(&pair);
    CU_ASSERT_TRUE(handshake(&pair));
    while ((n = client_socket_write(pair.server, bytes + n_sent, MUCH - n_sent)) > 0)
        n_sent += (gsize)n;
    CU_ASSERT_EQUAL(errno, EAGAIN);
    CU_ASSERT_TRUE(n_sent > 0 && n_sent < MUCH);
    while (n_got < MUCH) {
        n = SSL_read(pair.client, got + n_got, (int)(MUCH - n_got));
        if (n > 0)
            n_got += (gsize)n;
        n = n_sent < MUCH ? client_socket_write(pair.server, bytes + n_sent, MUCH - n_sent) : 0;
        if (n > 0)
            n_sent += (gsize)n;
    }
    CU_ASSERT_EQUAL(memcmp(got, bytes, MUCH), 0);
    pair_clear(&pair);
}

static void refuses_what_is_no_tls(void)
{
    Pair pair;
    char got[64];

    pair_make(&pair);
    CU_ASSERT_EQUAL(write(pair.fd, "GET /exec/x HTTP/1.1\r\n\r\n", 24), 24);
    CU_ASSERT_EQUAL(client_socket_read(pair.server, got, sizeof got), -1);
    CU_ASSERT_EQUAL(errno, EPROTO);
    pair_clear(&pair);
    pair_make(&pair);
    SSL_set_max_proto_version(pair.client, TLS1_1_VERSION);
    SSL_set_cipher_list(pair.client, "ALL:@SECLEVEL=0");
    CU_ASSERT_FALSE(handshake(&pair));
    pair_clear(&pair);
}

static void takes_renewed_files(void)
{
    g_autofree char *first = NULL;
    g_autofree char *renewed = NULL;
    g_autofree char *kept = NULL;
    g_autofree char *name = NULL;
    SSL *session;
    Pair pair;

    pair_make(&pair);
    first = stream_tls_certificate(pair.tls);
    make_certificate("second", pair.files.cert, pair.files.key);
    renewed = stream_tls_certificate(pair.tls);
    CU_ASSERT_STRING_NOT_EQUAL(first, renewed);
    CU_ASSERT_TRUE(handshake(&pair)); /* a connection that is older uses the former files */
    name = shown_name(pair.client);
    CU_ASSERT_STRING_EQUAL(name, "first");
    make_certificate("third", pair.files.cert, NULL); /* does not fit that key */
    kept = stream_tls_certificate(pair.tls);
    CU_ASSERT_STRING_EQUAL(kept, renewed);
    unlink(pair.files.key);
    session = stream_tls_session(pair.tls);
    CU_ASSERT_PTR_NOT_NULL(session);
    SSL_free(session);
    pair_clear(&pair);
}

static void names_files_that_do_not_do(void)
{
    g_autofree char *nothing = NULL;
    g_autoptr(GError) no_file = NULL;
    g_autoptr(GError) no_cert = NULL;
    g_autoptr(GError) no_match = NULL;
    Files files;

    files_make(&files);
    nothing = g_build_filename(files.dir, "nothing", NULL);
    TEST_FAILS(stream_tls_open(nothing, files.key, &no_file) != NULL, no_file, STATUS_INVALID_ARGUMENT,
               "nothing cannot be used");
    TEST_FAILS(stream_tls_open(files.key, files.key, &no_cert) != NULL, no_cert, STATUS_INVALID_ARGUMENT,
               "certificate");
    make_certificate("other", NULL, files.key);
    TEST_FAILS(stream_tls_open(files.cert, files.key, &no_match) != NULL, no_match, STATUS_INVALID_ARGUMENT,
               "key values mismatch");
    files_clear(&files);
}

/* ---- a peer over it ---- */

typedef struct {
    GMainContext *context;
    Peer *peer;
    gsize n_received;
    gboolean is_gone;
} End;

static gboolean on_opened(guint32 stream, GHashTable *headers, gpointer data)
{
    (void)stream;
    (void)headers;
    (void)data;
    return FALSE;
}

static void on_received(guint32 stream, const guint8 *bytes, gsize length, gpointer data)
{
    (void)stream;
    (void)bytes;
    ((End *)data)->n_received += length;
}

static void on_ended(guint32 stream, gboolean reset, gpointer data)
{
    (void)stream;
    (void)reset;
    (void)data;
}

static void on_writable(gpointer data)
{
    (void)data;
}

static void on_gone(gpointer data)
{
    ((End *)data)->is_gone = TRUE;
}

/* How often the loop had something to do. */
static int end_run(End *end)
{
    int n = 0;

    while (n < 1000 && g_main_context_iteration(end->context, FALSE))
        n++;
    return n;
}

static void end_start(End *end, Pair *pair)
{
    static const PeerEvents events = {on_opened, on_received, on_ended, on_writable, on_gone};

    memset(end, 0, sizeof *end);
    end->context = g_main_context_new();
    CU_ASSERT_TRUE(handshake(pair));
    peer_start(&(PeerConfig){.context = end->context,
                             .socket = g_steal_pointer(&pair->server),
                             .greeting = "hello",
                             .kind = PEER_CHANNELS,
                             .idle_ms = 60000},
               NULL, 0, &events, end, &end->peer);
}

static void is_gone_after(void (*leave)(Pair *pair), gboolean held, gboolean unread)
{
    g_autofree guint8 *much = g_malloc0(1 << 20);
    Pair pair;
    End end;

    pair_make(&pair);
    end_start(&end, &pair);
    peer_hold(end.peer, held);
    if (unread)
        peer_send(end.peer, 1, much, 1 << 20);
    CU_ASSERT_TRUE(end_run(&end) < 10);
    CU_ASSERT_FALSE(end.is_gone);
    leave(&pair);
    CU_ASSERT_TRUE(end_run(&end) < 10);
    CU_ASSERT_TRUE(end.is_gone);
    g_main_context_unref(end.context);
    pair_clear(&pair);
}

static void is_killed(Pair *pair)
{
    shutdown(pair->fd, SHUT_RDWR);
}

static void says_goodbye(Pair *pair)
{
    SSL_shutdown(pair->client);
    shutdown(pair->fd, SHUT_WR);
}

static void notices_who_goes(void)
{
    for (int i = 0; i < 4; i++) {
        is_gone_after(is_killed, i & 1, i >> 1);
        is_gone_after(says_goodbye, i & 1, i >> 1);
    }
}

static void finishes_whole(void)
{
    enum { MUCH = 1 << 20 };
    g_autofree guint8 *much = g_malloc0(MUCH);
    gsize n_got = 0;
    int n;
    Pair pair;
    End end;

    pair_make(&pair);
    end_start(&end, &pair);
    peer_send(end.peer, 1, much, MUCH);
    peer_finish(end.peer);
    do {
        end_run(&end);
        n = SSL_read(pair.client, much, MUCH);
        n_got += n > 0 ? (gsize)n : 0;
    } while (n > 0 || SSL_get_error(pair.client, n) == SSL_ERROR_WANT_READ);
    CU_ASSERT_EQUAL(SSL_get_error(pair.client, n), SSL_ERROR_ZERO_RETURN);
    CU_ASSERT_EQUAL(n_got, strlen("hello") + 10 + 1 + MUCH + 4); /* a frame, and the one that closes */
    says_goodbye(&pair);
    CU_ASSERT_TRUE(end_run(&end) < 10);
    CU_ASSERT_TRUE(end.is_gone);
    g_main_context_unref(end.context);
    pair_clear(&pair);
}

int main(void)
{
    static const TestCase cases[] = {
        {"bytes and the end of them go both ways", carries_bytes},
        {"the sender waits for a client that does not read, which gets every byte once",
         waits_for_who_does_not_read},
        {"a client without TLS, or with an old version, is refused", refuses_what_is_no_tls},
        {"renewed files are used only when certificate and key fit each other", takes_renewed_files},
        {"the message names a file that cannot be used", names_files_that_do_not_do},
        {"a client that disconnects is noticed, whether it is read or not, and no thread spins",
         notices_who_goes},
        {"all bytes arrive before the end of the connection", finishes_whole},
    };

    signal(SIGPIPE, SIG_IGN);
    return test_main("stream_tls", cases, G_N_ELEMENTS(cases));
}
