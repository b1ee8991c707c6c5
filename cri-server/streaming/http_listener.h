/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket of the streaming server: accepts connections, with or without TLS, and reads the
 * request line and the headers of one request from each.
 *
 * A connection is dropped when its TLS handshake fails or its request has not been served in time. When there
 * are HTTP_MAX_VISITS connections whose request is not served, the oldest is dropped for each new one, so
 * that silent connections keep no client out. A request that is too long or not valid is answered with status
 * 400.
 *
 * Threads: the loop's thread, except for http_listener_open() and http_listener_port().
 */
#pragma once

#include "cri-server/streaming/client_socket.h"
#include "cri-server/streaming/http_request.h"
#include "cri-server/streaming/stream_loop.h"
#include "cri-server/streaming/stream_tls.h"

enum { HTTP_MAX_VISITS = 500 };

typedef struct HttpListener HttpListener;

/* A connection whose request has been read. It is valid during the call of HttpServe, which calls
 * http_visit_refuse() or http_visit_take(). */
typedef struct HttpVisit HttpVisit;
typedef void (*HttpServe)(HttpVisit *visit, const HttpRequest *request, gpointer data);

/* Opens the listening socket. Connections are accepted after http_listener_start(). address: an IP address.
 * tls: NULL for plain HTTP. Return: NULL on failure. Ownership: loop and tls are borrowed. Errors:
 * INVALID_ARGUMENT when address is not an IP address; UNAVAILABLE when the port cannot be opened. */
HttpListener *http_listener_open(StreamLoop *loop, const char *address, guint16 port, StreamTls *tls,
                                 HttpServe serve, gpointer data, GError **error);
/* Starts to accept connections. A StreamFunc, for stream_loop_post(). */
void http_listener_start(gpointer listener);
/* Return: the port that the socket is bound to. */
guint16 http_listener_port(const HttpListener *listener);
/* Closes the socket, and drops connections that are not served yet. Takes NULL. */
void http_listener_close(gpointer listener);

/* Answers with the HTTP status and the text, and closes the connection after the client has read them. */
void http_visit_refuse(HttpVisit *visit, int status, const char *text);
/* Return: the connection, which the caller owns. *ret_rest holds the bytes that followed the request; the
 * caller frees it. */
ClientSocket *http_visit_take(HttpVisit *visit, GBytes **ret_rest);
