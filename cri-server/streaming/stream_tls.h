/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming server's certificate and key, for TLS 1.2 and later.
 *
 * The files are read again when they have changed, so a program that renews certificates only needs to write
 * them. While the new files do not match each other, because only one of them has been written yet, the old
 * ones stay in use, and a warning is logged. Clients are not asked for a certificate, because the kubelet,
 * which proxies streams, has none.
 *
 * Threads: any.
 */
#pragma once

#include <glib.h>
#include <openssl/types.h>

typedef struct StreamTls StreamTls;

/* Loads the PEM files. Return: NULL on failure. Errors: INVALID_ARGUMENT, which names the file and the
 * problem. */
StreamTls *stream_tls_open(const char *cert_path, const char *key_path, GError **error);
void stream_tls_close(StreamTls *tls); /* takes NULL */

/* Return: the TLS state of the server's end of a new connection, which the caller frees; NULL when out of
 * memory. */
SSL *stream_tls_session(StreamTls *tls);
/* Return: the certificate (PEM, without its chain); the caller frees it. */
char *stream_tls_certificate(StreamTls *tls);
