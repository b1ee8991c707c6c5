/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming server's certificate and key, for the TLS of its connections (1.2 and later).
 *
 * The files are read again when they have changed, so a program that renews certificates only needs to write
 * them. New files that do not match (only one of the two may have been written yet) leave the old ones in
 * use, with a warning. Clients need no certificate, because the kubelet, which passes streams on, has none.
 *
 * Threads: any.
 */
#pragma once

#include <glib.h>
#include <openssl/types.h>

typedef struct StreamTls StreamTls;

/* Errors: INVALID_ARGUMENT naming the file and the problem. */
StreamTls *stream_tls_open(const char *cert_path, const char *key_path, GError **error);
void stream_tls_close(StreamTls *tls); /* takes NULL */

/* Return: the server's end of a new connection, which the caller frees; NULL when out of memory. */
SSL *stream_tls_session(StreamTls *tls);
/* Return: the certificate (PEM, without its chain); the caller frees it. */
char *stream_tls_certificate(StreamTls *tls);
