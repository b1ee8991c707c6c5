/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of exec, attach and port-forward: WebSocket channels of v5.channel.k8s.io.
 *
 * Threads: one thread, which uses poll(): stream_client_poll() returns what to wait for, and
 * stream_client_work() does what is possible without blocking.
 */
#pragma once

#include <gio/gio.h>

typedef struct StreamClient StreamClient;

enum { CHANNEL_STDIN, CHANNEL_STDOUT, CHANNEL_STDERR, CHANNEL_ERROR, CHANNEL_RESIZE };

/* Called with bytes that a channel received. Return: FALSE with *error ends the work. */
typedef gboolean (*StreamReceived)(guint channel, const guint8 *bytes, gsize length, gpointer data,
                                   GError **error);

typedef struct {
    const char *url;
    const char *certificate; /* PEM: the server's; NULL for http:// */
} StreamAddress;

/* Connects and upgrades to WebSocket; blocks for at most some seconds. */
StreamClient *stream_client_open(const StreamAddress *address, const char *protocol, StreamReceived received,
                                 gpointer data, GError **error);
void stream_client_close(StreamClient *client); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StreamClient, stream_client_close)

/* Return: whether the queue of bytes to send has room. */
gboolean stream_client_has_room(const StreamClient *client);
void stream_client_send(StreamClient *client, guint channel, const void *bytes, gsize length);
void stream_client_end(StreamClient *client, guint channel);

GPollFD stream_client_poll(StreamClient *client);
/* Errors: the connection broke. *ret_over is TRUE when the server has closed it properly. */
gboolean stream_client_work(StreamClient *client, gushort revents, gboolean *ret_over, GError **error);
