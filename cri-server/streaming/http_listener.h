/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket of the streaming server: accepts connections, with TLS or without, and reads the head
 * of one request from each.
 *
 * It drops a connection with a bad certificate exchange, too long a head or too slow a client, and answers a
 * refused request before it closes it.
 *
 * Threads: its loop's thread, except for opening.
 */
#pragma once

#include "cri-server/streaming/client_socket.h"
#include "cri-server/streaming/http_request.h"
#include "cri-server/streaming/stream_loop.h"
#include "cri-server/streaming/stream_tls.h"

typedef struct HttpListener HttpListener;

/* A connection whose request has been read. It lasts for the call of HttpServe, which answers or takes it. */
typedef struct HttpVisit HttpVisit;
typedef void (*HttpServe)(HttpVisit *visit, const HttpRequest *request, gpointer data);

/* Listens; accepts no connection before http_listener_start(). address is numeric. tls is borrowed; NULL:
 * plain HTTP. */
HttpListener *http_listener_open(StreamLoop *loop, const char *address, guint16 port, StreamTls *tls,
                                 HttpServe serve, gpointer data, GError **error);
void http_listener_start(gpointer listener);
guint16 http_listener_port(const HttpListener *listener);
/* Also drops connections that are not served yet. Takes NULL. */
void http_listener_close(gpointer listener);

/* Answers with the status and the message, and closes the connection when the client has read them. */
void http_visit_refuse(HttpVisit *visit, int status, const char *text);
/* Ownership: the connection becomes the caller's, and so do the bytes that followed the request (*ret_rest).
 */
ClientSocket *http_visit_take(HttpVisit *visit, GBytes **ret_rest);
