/* The listening socket of the streaming server: accepts connections, with TLS or without, and reads the head
 * of one request from each.
 *
 * A connection that is none of ours, says too much or takes too long is dropped here; a refused one is told
 * why and closed. Lives on its loop's thread, but for opening.
 */
#pragma once

#include "cri-server/streaming/client_socket.h"
#include "cri-server/streaming/http_request.h"
#include "cri-server/streaming/stream_loop.h"
#include "cri-server/streaming/stream_tls.h"

typedef struct HttpListener HttpListener;

/* A connection whose request is known. It lasts for the call of HttpServe, which answers it or takes it. */
typedef struct HttpVisit HttpVisit;
typedef void (*HttpServe)(HttpVisit *visit, const HttpRequest *request, gpointer data);

/* Listens; nothing is accepted before http_listener_start(). address: numeric. tls: borrowed; NULL: none. */
HttpListener *http_listener_open(StreamLoop *loop, const char *address, guint16 port, StreamTls *tls,
                                 HttpServe serve, gpointer data, GError **error);
void http_listener_start(gpointer listener);
guint16 http_listener_port(const HttpListener *listener);
/* Drops who is not served yet, too. Takes NULL. */
void http_listener_close(gpointer listener);

/* Says so and closes the connection when the client has read it. */
void http_visit_refuse(HttpVisit *visit, int status, const char *text);
/* The connection is the caller's. *ret_rest: what came after the request, the caller's as well. */
ClientSocket *http_visit_take(HttpVisit *visit, GBytes **ret_rest);
