/* The streaming server's certificate and key, for the TLS of its connections (1.2 and later).
 *
 * The files are read again when they have changed, without a word to anybody: what renews certificates writes
 * files. New ones that do not fit (one of the two may have been written only) leave the old ones in use, with
 * a warning. Clients need no certificate: the kubelet, which passes streams on, has none to show.
 *
 * Any thread.
 */
#pragma once

#include <glib.h>
#include <openssl/types.h>

typedef struct StreamTls StreamTls;

/* INVALID_ARGUMENT names the file and what is wrong with it. */
StreamTls *stream_tls_open(const char *cert_path, const char *key_path, GError **error);
void stream_tls_close(StreamTls *tls); /* takes NULL */

/* The server's end of a new connection; the caller frees it. NULL: out of memory. */
SSL *stream_tls_session(StreamTls *tls);
/* The certificate (PEM, without its chain); the caller frees it. */
char *stream_tls_certificate(StreamTls *tls);
