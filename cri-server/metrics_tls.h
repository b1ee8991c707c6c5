/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate and key of /metrics over TLS 1.2 and later. They are read again when they have changed;
 * while the new files do not match each other, the old ones stay in use, and a warning is logged.
 *
 * libmicrohttpd has GnuTLS, so this does not share code with the streaming server's OpenSSL
 * (streaming/stream_tls.h).
 *
 * Threads: the functions that open and close, one; handshakes run on libmicrohttpd's thread.
 */
#pragma once

#include <glib.h>
#include <gnutls/abstract.h>

typedef struct MetricsTls MetricsTls;

/* Loads the PEM files. Return: NULL on failure. Errors: INVALID_ARGUMENT, which names the files and the
 * problem. */
MetricsTls *metrics_tls_open(const char *cert_path, const char *key_path, GError **error);
/* Called after the server has ended; takes NULL. */
void metrics_tls_close(MetricsTls *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MetricsTls, metrics_tls_close)

/* For MHD_OPTION_HTTPS_CERT_CALLBACK, which passes no data: the certificate of the MetricsTls that was opened
 * last. */
int metrics_tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                         const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
                         gnutls_pcert_st **ret_certificates, unsigned int *ret_n_certificates,
                         gnutls_privkey_t *ret_key);
