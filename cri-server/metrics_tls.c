/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/metrics_tls.h"

#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"

enum { CHAIN_MAX = 8, FILE_MAX_BYTES = 1 << 20 };

/* Identifies a version of the two files. */
typedef struct {
    ino_t inodes[2];
    off_t sizes[2];
    struct timespec changed[2];
} Stamp;

/* A certificate with its chain, and its key. */
typedef struct {
    gnutls_pcert_st certificates[CHAIN_MAX];
    unsigned int n_certificates;
    gnutls_privkey_t key;
} Pair;

struct MetricsTls {
    char *cert_path;
    char *key_path;
    Stamp tried; /* the versions that were loaded last, successfully or not */
    GPtrArray
        *pairs; /* Pair, the one in use last: a handshake that is under way may still use an older one */
};

static MetricsTls *opened;

static void pair_free(gpointer data)
{
    Pair *pair = data;

    for (unsigned int i = 0; i < pair->n_certificates; i++)
        gnutls_pcert_deinit(&pair->certificates[i]);
    if (pair->key != NULL)
        gnutls_privkey_deinit(pair->key);
    g_free(pair);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pair, pair_free)

static gboolean fail_gnutls(const char *path, int code, GError **error)
{
    return fail(error, STATUS_INVALID_ARGUMENT, "metrics: %s cannot be used: %s", path,
                gnutls_strerror(code));
}

static gboolean key_matches(const Pair *pair)
{
    gnutls_pubkey_t from_key = NULL;
    guint8 of_key[64];
    guint8 of_certificate[64];
    size_t n_key = sizeof of_key;
    size_t n_certificate = sizeof of_certificate;
    gboolean good;

    gnutls_pubkey_init(&from_key);
    good = gnutls_pubkey_import_privkey(from_key, pair->key, 0, 0) >= 0 &&
           gnutls_pubkey_get_key_id(from_key, GNUTLS_KEYID_USE_SHA256, of_key, &n_key) >= 0 &&
           gnutls_pubkey_get_key_id(pair->certificates[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_certificate,
                                    &n_certificate) >= 0 &&
           n_key == n_certificate && memcmp(of_key, of_certificate, n_key) == 0;
    gnutls_pubkey_deinit(from_key);
    return good;
}

static gboolean pair_parse(const MetricsTls *tls, const gnutls_datum_t *certificate,
                           const gnutls_datum_t *key, Pair *pair, GError **error)
{
    int code;

    pair->n_certificates = CHAIN_MAX;
    code = gnutls_pcert_list_import_x509_raw(pair->certificates, &pair->n_certificates, certificate,
                                             GNUTLS_X509_FMT_PEM, 0);
    if (code < 0) {
        pair->n_certificates = 0;
        return fail_gnutls(tls->cert_path, code, error);
    }
    gnutls_privkey_init(&pair->key);
    code = gnutls_privkey_import_x509_raw(pair->key, key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (code < 0)
        return fail_gnutls(tls->key_path, code, error);
    return key_matches(pair) ||
           fail(error, STATUS_INVALID_ARGUMENT, "metrics: %s is not the key of the certificate %s",
                tls->key_path, tls->cert_path);
}

static Pair *pair_load(const MetricsTls *tls, GError **error)
{
    g_autoptr(Pair) pair = g_new0(Pair, 1);
    g_autofree char *certificate = NULL;
    g_autofree char *key = NULL;
    gsize n_certificate = 0;
    gsize n_key = 0;
    gboolean good = FALSE;

    if (file_read(tls->cert_path, FILE_MAX_BYTES, &certificate, &n_certificate, error) &&
        file_read(tls->key_path, FILE_MAX_BYTES, &key, &n_key, error)) {
        const gnutls_datum_t certificate_text = {(unsigned char *)certificate, (unsigned int)n_certificate};
        const gnutls_datum_t key_text = {(unsigned char *)key, (unsigned int)n_key};

        good = pair_parse(tls, &certificate_text, &key_text, pair, error);
    }
    if (key != NULL)
        explicit_bzero(key, n_key);
    return good ? g_steal_pointer(&pair) : NULL;
}

static Stamp stamp_read(const MetricsTls *tls)
{
    const char *const paths[] = {tls->cert_path, tls->key_path};
    Stamp stamp;

    memset(&stamp, 0, sizeof stamp); /* memcmp() compares the padding, too */
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++) {
        struct stat status;

        if (stat(paths[i], &status) != 0)
            continue;
        stamp.inodes[i] = status.st_ino;
        stamp.sizes[i] = status.st_size;
        stamp.changed[i] = status.st_mtim;
    }
    return stamp;
}

static void reload_if_changed(MetricsTls *tls)
{
    const Stamp now = stamp_read(tls);
    g_autoptr(GError) error = NULL;
    Pair *pair;

    if (memcmp(&now, &tls->tried, sizeof now) == 0)
        return;
    tls->tried = now;
    pair = pair_load(tls, &error);
    if (pair == NULL) {
        log_warning(LOG_NO_FIELDS, "%s; the previous certificate stays in use", error->message);
        return;
    }
    g_ptr_array_add(tls->pairs, pair);
    log_info(LOG_FIELDS("certificate", tls->cert_path), "/metrics uses a new certificate");
}

MetricsTls *metrics_tls_open(const char *cert_path, const char *key_path, GError **error)
{
    g_autoptr(MetricsTls) tls = g_new0(MetricsTls, 1);
    Pair *pair;

    tls->cert_path = g_strdup(cert_path);
    tls->key_path = g_strdup(key_path);
    tls->pairs = g_ptr_array_new_with_free_func(pair_free);
    tls->tried = stamp_read(tls);
    pair = pair_load(tls, error);
    if (pair == NULL)
        return NULL;
    g_ptr_array_add(tls->pairs, pair);
    opened = tls;
    return g_steal_pointer(&tls);
}

void metrics_tls_close(MetricsTls *tls)
{
    if (tls == NULL)
        return;
    if (opened == tls)
        opened = NULL;
    g_ptr_array_unref(tls->pairs);
    g_free(tls->cert_path);
    g_free(tls->key_path);
    g_free(tls);
}

int metrics_tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                         const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
                         gnutls_pcert_st **ret_certificates, unsigned int *ret_n_certificates,
                         gnutls_privkey_t *ret_key)
{
    Pair *pair;

    (void)session;
    (void)authorities;
    (void)n_authorities;
    (void)algorithms;
    (void)n_algorithms;
    reload_if_changed(opened);
    pair = opened->pairs->pdata[opened->pairs->len - 1];
    *ret_certificates = pair->certificates;
    *ret_n_certificates = pair->n_certificates;
    *ret_key = pair->key;
    return 0;
}
