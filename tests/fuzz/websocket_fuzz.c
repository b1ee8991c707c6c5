/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile WebSocket client of channels and of the SPDY tunnel, over a socket pair. */
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cri-server/streaming/peer.h"
#include "cri-server/streaming/status.h"

static gboolean on_opened(guint32 stream, GHashTable *headers, gpointer data)
{
    (void)stream;
    (void)headers;
    (void)data;
    return TRUE;
}

static void on_received(guint32 stream, const guint8 *bytes, gsize length, gpointer data)
{
    Peer **peer = data;
    ResizeReader reader = {.length = 0};
    guint columns;
    guint rows;

    resize_reader_feed(&reader, bytes, length, &columns, &rows);
    peer_send(*peer, stream, bytes, length);
    peer_hold(*peer, length > 100);
}

static void on_ended(guint32 stream, gboolean reset, gpointer data)
{
    Peer **peer = data;

    (void)reset;
    peer_end(*peer, stream);
}

static void on_writable(gpointer data)
{
    (void)data;
}

static void on_gone(gpointer data)
{
    *(Peer **)data = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const PeerEvents events = {on_opened, on_received, on_ended, on_writable, on_gone};
    static const PeerKind kinds[] = {PEER_CHANNELS, PEER_CHANNELS_BASE64, PEER_TUNNEL, PEER_SPDY};
    g_autoptr(GMainContext) context = g_main_context_new();
    Peer *peer = NULL;
    int ends[2];

    if (size < 1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
        return 0;
    peer_start(&(PeerConfig){.context = context,
                             .socket = client_socket_new(ends[0], NULL),
                             .kind = kinds[data[0] % G_N_ELEMENTS(kinds)],
                             .half_closes = TRUE,
                             .idle_ms = 60000},
               data + 1, size - 1, &events, &peer, &peer);
    close(ends[1]);
    peer_drop(peer);
    while (peer != NULL)
        g_main_context_iteration(context, FALSE);
    return 0;
}
