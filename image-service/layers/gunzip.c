/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/gunzip.h"

#include "common/error.h"

#ifdef CRIVIRT_WITH_ISAL

#include <isa-l/igzip_lib.h>

struct Gunzip {
    struct inflate_state state;
};

Gunzip *gunzip_new(void)
{
    Gunzip *gunzip = g_new0(Gunzip, 1);

    isal_inflate_init(&gunzip->state);
    gunzip->state.crc_flag = ISAL_GZIP;
    return gunzip;
}

void gunzip_free(Gunzip *gunzip)
{
    g_free(gunzip);
}

gboolean gunzip_step(Gunzip *gunzip, const guint8 *in, gsize in_length, guint8 *out, gsize out_size,
                     gsize *ret_used, gsize *ret_made, gboolean *ret_ended, GError **error)
{
    struct inflate_state *state = &gunzip->state;
    int result;

    state->next_in = (guint8 *)in;
    state->avail_in = (guint32)in_length;
    state->next_out = out;
    state->avail_out = (guint32)out_size;
    result = isal_inflate(state);
    if (result != ISAL_DECOMP_OK && result != ISAL_END_INPUT && result != ISAL_OUT_OVERFLOW)
        return fail(error, STATUS_INVALID_ARGUMENT, "bad gzip data%s",
                    result == ISAL_INCORRECT_CHECKSUM ? ": wrong checksum" : "");
    *ret_used = in_length - state->avail_in;
    *ret_made = out_size - state->avail_out;
    *ret_ended = state->block_state == ISAL_BLOCK_FINISH;
    if (*ret_ended) {
        isal_inflate_reset(state);
        state->crc_flag = ISAL_GZIP;
    }
    return TRUE;
}

#else

#include <zlib.h>

struct Gunzip {
    z_stream stream;
};

Gunzip *gunzip_new(void)
{
    Gunzip *gunzip = g_new0(Gunzip, 1);

    /* 16: gzip only. It fails only when there is no memory, and then GLib ends the daemon, too. */
    if (inflateInit2(&gunzip->stream, 16 + MAX_WBITS) != Z_OK)
        g_error("cannot set up zlib");
    return gunzip;
}

void gunzip_free(Gunzip *gunzip)
{
    if (gunzip == NULL)
        return;
    inflateEnd(&gunzip->stream);
    g_free(gunzip);
}

gboolean gunzip_step(Gunzip *gunzip, const guint8 *in, gsize in_length, guint8 *out, gsize out_size,
                     gsize *ret_used, gsize *ret_made, gboolean *ret_ended, GError **error)
{
    z_stream *stream = &gunzip->stream;
    int result;

    stream->next_in = (guint8 *)in;
    stream->avail_in = (uInt)in_length;
    stream->next_out = out;
    stream->avail_out = (uInt)out_size;
    result = inflate(stream, Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        return fail(error, STATUS_INVALID_ARGUMENT, "bad gzip data: %s",
                    stream->msg != NULL ? stream->msg : zError(result));
    *ret_used = in_length - stream->avail_in;
    *ret_made = out_size - stream->avail_out;
    *ret_ended = result == Z_STREAM_END;
    if (*ret_ended && inflateReset(stream) != Z_OK)
        return fail(error, STATUS_INTERNAL, "cannot reset zlib");
    return TRUE;
}

#endif
