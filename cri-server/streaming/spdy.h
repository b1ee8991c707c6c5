/* SPDY/3.1 as kubectl, crictl and the kubelet speak it: the server's side of one connection, without I/O.
 *
 * Bytes go in by spdy_feed() and come out by the output event; everything the client sends is hostile and
 * checked here. https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
 *
 * Flow control: the clients in use (moby/spdystream) never send WINDOW_UPDATE and know no windows; waiting
 * for theirs would hang. So windows bind only a client that has shown that it keeps them, by a WINDOW_UPDATE
 * or a SETTINGS with an initial window; the others are held back by the connection itself. One that keeps
 * them gets room for more only as its bytes are used (spdy_took()), and must not be held back by the
 * connection: the WINDOW_UPDATEs that what we send waits for come on it as well.
 *
 * One thread. Events may call everything but spdy_free().
 */
#pragma once

#include <glib.h>

typedef struct Spdy Spdy;

enum {
    SPDY_MAX_STREAMS = 1000,
    SPDY_MAX_FRAME_BYTES = 64 << 10,  /* of a control frame */
    SPDY_MAX_HEADER_BYTES = 64 << 10, /* of a header block, inflated */
    SPDY_DATA_BYTES = 32 << 10,       /* of a data frame that we send */
};

typedef struct {
    /* A stream of the client's; names of headers are in lower case, both tables and strings are borrowed.
     * FALSE refuses it. */
    gboolean (*opened)(guint32 stream, GHashTable *headers, gpointer data);
    void (*received)(guint32 stream, const guint8 *bytes, gsize length, gpointer data);
    /* Nothing more comes on it; with reset, nothing can be sent either. */
    void (*ended)(guint32 stream, gboolean reset, gpointer data);
    void (*output)(const guint8 *bytes, gsize length, gpointer data);
} SpdyEvents;

Spdy *spdy_new(const SpdyEvents *events, gpointer data);
void spdy_free(Spdy *spdy); /* takes NULL */

/* INVALID_ARGUMENT for what breaks the protocol: a GOAWAY has been sent, and the connection is to be closed.
 */
gboolean spdy_feed(Spdy *spdy, const guint8 *bytes, gsize length, GError **error);

/* Whether it has shown that it keeps windows. */
gboolean spdy_keeps_windows(const Spdy *spdy);
/* So many of the bytes received on a stream have been used. */
void spdy_took(Spdy *spdy, guint32 stream, gsize length);
/* How much may be sent on a stream now; 0 for one that is closed. */
gsize spdy_room(Spdy *spdy, guint32 stream);
/* Nothing is sent on a stream that is closed. length: at most spdy_room(). */
void spdy_send(Spdy *spdy, guint32 stream, const guint8 *bytes, gsize length);
void spdy_end(Spdy *spdy, guint32 stream); /* half-closes it */
void spdy_reset(Spdy *spdy, guint32 stream);
void spdy_goaway(Spdy *spdy);
