/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile SPDY client: no bytes may crash the server's side, and events must match the streams that are
 * open. */
#include <stdint.h>

#include "cri-server/streaming/spdy.h"

static gboolean on_opened(guint32 stream, GHashTable *headers, gpointer data)
{
    Spdy **spdy = data;

    if (g_hash_table_size(headers) == 0)
        return FALSE;
    spdy_send(*spdy, stream, (const guint8 *)"x", 1);
    return TRUE;
}

static void on_received(guint32 stream, const guint8 *bytes, gsize length, gpointer data)
{
    Spdy **spdy = data;

    spdy_send(*spdy, stream, bytes, MIN(length, spdy_room(*spdy, stream)));
    if (bytes[0] == 'e')
        spdy_end(*spdy, stream);
    if (bytes[0] == 'r')
        spdy_reset(*spdy, stream);
}

static void on_ended(guint32 stream, gboolean reset, gpointer data)
{
    Spdy **spdy = data;

    if (!reset)
        spdy_end(*spdy, stream);
}

static void on_output(const guint8 *bytes, gsize length, gpointer data)
{
    (void)bytes;
    (void)length;
    (void)data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const SpdyEvents events = {on_opened, on_received, on_ended, on_output};
    Spdy *spdy = NULL;

    spdy = spdy_new(&events, &spdy);
    spdy_feed(spdy, data, size, NULL);
    spdy_free(spdy);
    return 0;
}
