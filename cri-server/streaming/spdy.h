/* SPDX-License-Identifier: Apache-2.0 */
/* SPDY/3.1 as kubectl, crictl and the kubelet use it: the server's side of one connection, without I/O
 * (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/). Bytes enter by spdy_feed() and
 * leave by the event output. Everything that the client sends is untrusted and is checked here.
 *
 * Flow control: common clients (moby/spdystream) never send WINDOW_UPDATE, so waiting for one would hang.
 * Windows therefore limit only a client that has shown that it honours them, by a WINDOW_UPDATE or by
 * SETTINGS with an initial window; other clients are limited by the connection itself. A client that honours
 * windows may send more bytes only as its bytes are used (spdy_took()), and reading its connection must not
 * be stopped, because its WINDOW_UPDATEs arrive on the same connection.
 *
 * Threads: one thread at a time. Events may call every function except spdy_free().
 */
#pragma once

#include <glib.h>

typedef struct Spdy Spdy;

enum {
    SPDY_MAX_STREAMS = 1000,
    SPDY_MAX_FRAME_BYTES = 64 << 10,  /* of a control frame */
    SPDY_MAX_HEADER_BYTES = 64 << 10, /* of a header block, inflated */
    SPDY_DATA_BYTES = 32 << 10,       /* of a data frame that is sent */
};

typedef struct {
    /* The client opened a stream. headers: names in lower case, and values; borrowed. Return: FALSE to
     * refuse the stream. */
    gboolean (*opened)(guint32 stream, GHashTable *headers, gpointer data);
    /* Bytes arrived on a stream; borrowed. */
    void (*received)(guint32 stream, const guint8 *bytes, gsize length, gpointer data);
    /* The client sends no more bytes on the stream; with reset, no bytes can be sent on it either. */
    void (*ended)(guint32 stream, gboolean reset, gpointer data);
    /* Bytes for the client; borrowed. The owner sends them in this order. */
    void (*output)(const guint8 *bytes, gsize length, gpointer data);
} SpdyEvents;

/* Ownership: events are copied; data is borrowed. */
Spdy *spdy_new(const SpdyEvents *events, gpointer data);
void spdy_free(Spdy *spdy); /* takes NULL */

/* Processes bytes from the client, in pieces of any length. Return: FALSE when the client violates the
 * protocol; a GOAWAY has been sent then, and the caller closes the connection. Errors: INVALID_ARGUMENT. */
gboolean spdy_feed(Spdy *spdy, const guint8 *bytes, gsize length, GError **error);

/* Return: whether the client has shown that it honours windows. */
gboolean spdy_keeps_windows(const Spdy *spdy);
/* Reports that the owner has used this many of the bytes received on a stream, so that the client may send
 * more. */
void spdy_took(Spdy *spdy, guint32 stream, gsize length);
/* Return: the number of bytes that may be sent on a stream now; 0 for a closed stream. */
gsize spdy_room(Spdy *spdy, guint32 stream);
/* Sends bytes on a stream; does nothing for a closed stream. length: at most spdy_room(). */
void spdy_send(Spdy *spdy, guint32 stream, const guint8 *bytes, gsize length);
void spdy_end(Spdy *spdy, guint32 stream); /* half-closes the stream */
/* Resets the stream, so that neither side sends on it any more; the event ended does not follow. */
void spdy_reset(Spdy *spdy, guint32 stream);
/* Announces that no further streams are accepted. */
void spdy_goaway(Spdy *spdy);
