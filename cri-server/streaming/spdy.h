/* SPDX-License-Identifier: Apache-2.0 */
/* SPDY/3.1 as kubectl, crictl and the kubelet use it: the server's side of one connection, without I/O.
 *
 * Bytes enter by spdy_feed() and leave by the output event. Everything that the client sends is untrusted
 * and is checked here. https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
 *
 * Flow control: common clients (moby/spdystream) never send WINDOW_UPDATE, so waiting for one would hang.
 * Windows therefore limit only a client that has shown that it keeps them, by a WINDOW_UPDATE or by SETTINGS
 * with an initial window; other clients are limited by the connection itself. A client that keeps windows
 * gets room for more bytes only as its bytes are used (spdy_took()), and the connection must not be held
 * back for it, because its WINDOW_UPDATEs arrive on the same connection.
 *
 * Threads: one. Events may call every function except spdy_free().
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
    /* The client opened a stream. Names of headers are in lower case; both tables and strings are borrowed.
     * Return: FALSE refuses it. */
    gboolean (*opened)(guint32 stream, GHashTable *headers, gpointer data);
    void (*received)(guint32 stream, const guint8 *bytes, gsize length, gpointer data);
    /* The client sends no more bytes on the stream; with reset, nothing can be sent on it either. */
    void (*ended)(guint32 stream, gboolean reset, gpointer data);
    void (*output)(const guint8 *bytes, gsize length, gpointer data);
} SpdyEvents;

Spdy *spdy_new(const SpdyEvents *events, gpointer data);
void spdy_free(Spdy *spdy); /* takes NULL */

/* Errors: INVALID_ARGUMENT when the client breaks the protocol; a GOAWAY has been sent then, and the caller
 * closes the connection. */
gboolean spdy_feed(Spdy *spdy, const guint8 *bytes, gsize length, GError **error);

/* Return: whether the client has shown that it keeps windows. */
gboolean spdy_keeps_windows(const Spdy *spdy);
/* The owner has used this many of the bytes received on a stream. */
void spdy_took(Spdy *spdy, guint32 stream, gsize length);
/* Return: the number of bytes that may be sent on a stream now; 0 for one that is closed. */
gsize spdy_room(Spdy *spdy, guint32 stream);
/* Sends nothing on a stream that is closed. length is at most spdy_room(). */
void spdy_send(Spdy *spdy, guint32 stream, const guint8 *bytes, gsize length);
void spdy_end(Spdy *spdy, guint32 stream); /* half-closes the stream */
void spdy_reset(Spdy *spdy, guint32 stream);
void spdy_goaway(Spdy *spdy);
