/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/stream_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/log.h"

/* Identifies a version of a file. */
typedef struct {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
} Stamp;

enum { CERT, KEY, N_FILES };

struct StreamTls {
    char *paths[N_FILES];
    GMutex lock;
    Stamp tried[N_FILES]; /* the versions that were loaded last, successfully or not */
    SSL_CTX *context;
};

static gboolean fail_openssl(const char *what, const char *path, GError **error)
{
    char text[256] = "no reason given";
    unsigned long code = ERR_get_error();

    if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return fail(error, STATUS_INVALID_ARGUMENT, "streaming: %s %s cannot be used: %s", what, path, text);
}

/* A daemon cannot ask for a passphrase. */
static int no_passphrase(char *buffer, int size, int for_writing, void *data)
{
    (void)buffer;
    (void)size;
    (void)for_writing;
    (void)data;
    return -1;
}

static SSL_CTX *context_new(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (context == NULL)
        g_error("OpenSSL cannot make a TLS context");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    /* Sessions are never resumed, because every URL is for one connection. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    return context;
}

static SSL_CTX *load_certificate(StreamTls *tls, GError **error)
{
    SSL_CTX *context = context_new();
    gboolean good;

    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context, tls->paths[CERT]) != 1)
        good = fail_openssl("certificate", tls->paths[CERT], error);
    else if (SSL_CTX_use_PrivateKey_file(context, tls->paths[KEY], SSL_FILETYPE_PEM) != 1)
        good = fail_openssl("the certificate's key", tls->paths[KEY], error);
    else
        good = TRUE;
    if (good)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

static void read_stamps(const StreamTls *tls, Stamp stamps[N_FILES])
{
    memset(stamps, 0, N_FILES * sizeof *stamps); /* memcmp() compares the padding, too */
    for (int i = 0; i < N_FILES; i++) {
        struct stat status;

        if (stat(tls->paths[i], &status) != 0)
            continue;
        stamps[i].device = status.st_dev;
        stamps[i].inode = status.st_ino;
        stamps[i].size = status.st_size;
        stamps[i].changed = status.st_mtim;
    }
}

/* Called with the lock held. */
static void reload_if_changed_locked(StreamTls *tls)
{
    g_autoptr(GError) error = NULL;
    Stamp now[N_FILES];
    SSL_CTX *context;

    read_stamps(tls, now);
    if (memcmp(now, tls->tried, sizeof now) == 0)
        return;
    memcpy(tls->tried, now, sizeof now);
    context = load_certificate(tls, &error);
    if (context == NULL) {
        log_warning(LOG_NO_FIELDS, "%s; the previous certificate stays in use", error->message);
        return;
    }
    SSL_CTX_free(tls->context);
    tls->context = context;
    log_info(LOG_FIELDS("certificate", tls->paths[CERT]), "the streaming server uses a new certificate");
}

StreamTls *stream_tls_open(const char *cert_path, const char *key_path, GError **error)
{
    StreamTls *tls = g_new0(StreamTls, 1);

    g_mutex_init(&tls->lock);
    tls->paths[CERT] = g_strdup(cert_path);
    tls->paths[KEY] = g_strdup(key_path);
    read_stamps(tls, tls->tried);
    tls->context = load_certificate(tls, error);
    if (tls->context != NULL)
        return tls;
    stream_tls_close(tls);
    return NULL;
}

void stream_tls_close(StreamTls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    for (int i = 0; i < N_FILES; i++)
        g_free(tls->paths[i]);
    g_mutex_clear(&tls->lock);
    g_free(tls);
}

SSL *stream_tls_session(StreamTls *tls)
{
    SSL *session;

    g_mutex_lock(&tls->lock);
    reload_if_changed_locked(tls);
    session = SSL_new(tls->context);
    g_mutex_unlock(&tls->lock);
    if (session != NULL)
        SSL_set_accept_state(session);
    return session;
}

char *stream_tls_certificate(StreamTls *tls)
{
    BIO *text = BIO_new(BIO_s_mem());
    char *pem = NULL;
    char *bytes;
    long length;

    g_mutex_lock(&tls->lock);
    reload_if_changed_locked(tls);
    if (text == NULL || PEM_write_bio_X509(text, SSL_CTX_get0_certificate(tls->context)) != 1)
        g_error("OpenSSL cannot write a certificate that it has read");
    g_mutex_unlock(&tls->lock);
    length = BIO_get_mem_data(text, &bytes);
    pem = g_strndup(bytes, (gsize)length);
    BIO_free(text);
    return pem;
}
