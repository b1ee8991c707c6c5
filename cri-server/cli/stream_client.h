/* The client's side of exec, attach and port-forward: WebSocket channels of v5.channel.k8s.io.
 *
 * One thread, by poll(): stream_client_poll() says what to wait for, stream_client_work() does what can be
 * done.
 */
#pragma once

#include <gio/gio.h>

typedef struct StreamClient StreamClient;

enum { CHANNEL_STDIN, CHANNEL_STDOUT, CHANNEL_STDERR, CHANNEL_ERROR, CHANNEL_RESIZE };

/* What came on a channel. FALSE with *error ends the work. */
typedef gboolean (*StreamReceived)(guint channel, const guint8 *bytes, gsize length, gpointer data,
                                   GError **error);

typedef struct {
    const char *url;
    const char *certificate; /* PEM: the server's; NULL for http:// */
} StreamAddress;

/* Connects and upgrades; blocks for some seconds at most. */
StreamClient *stream_client_open(const StreamAddress *address, const char *protocol, StreamReceived received,
                                 gpointer data, GError **error);
void stream_client_close(StreamClient *client); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StreamClient, stream_client_close)

/* Whether more may be sent now: what is sent is queued. */
gboolean stream_client_has_room(const StreamClient *client);
void stream_client_send(StreamClient *client, guint channel, const void *bytes, gsize length);
void stream_client_end(StreamClient *client, guint channel);

GPollFD stream_client_poll(StreamClient *client);
/* FALSE with *error when the connection broke; *ret_over when the server said goodbye. */
gboolean stream_client_work(StreamClient *client, gushort revents, gboolean *ret_over, GError **error);
