/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/inflate_other.h"

#include <bzlib.h>
#include <lzma.h>

#include "common/error.h"

enum { MAX_XZ_MEMORY_BYTES = 128 << 20 };

struct Unxz {
    lzma_stream stream;
};

/* It fails only when there is no memory, and then GLib ends the daemon, too. */
static void begin_xz(Unxz *unxz)
{
    if (lzma_stream_decoder(&unxz->stream, MAX_XZ_MEMORY_BYTES, 0) != LZMA_OK)
        g_error("cannot set up liblzma");
}

Unxz *unxz_new(void)
{
    Unxz *unxz = g_new0(Unxz, 1);

    unxz->stream = (lzma_stream)LZMA_STREAM_INIT;
    begin_xz(unxz);
    return unxz;
}

void unxz_free(Unxz *unxz)
{
    if (unxz == NULL)
        return;
    lzma_end(&unxz->stream);
    g_free(unxz);
}

gboolean unxz_step(Unxz *unxz, const guint8 *in, gsize in_length, guint8 *out, gsize out_size,
                   gsize *ret_used, gsize *ret_made, gboolean *ret_ended, GError **error)
{
    lzma_stream *stream = &unxz->stream;
    lzma_ret result;

    stream->next_in = in;
    stream->avail_in = in_length;
    stream->next_out = out;
    stream->avail_out = out_size;
    result = lzma_code(stream, LZMA_RUN);
    if (result == LZMA_MEMLIMIT_ERROR)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "bad xz data: its dictionary needs more than %d bytes of memory",
                    (int)MAX_XZ_MEMORY_BYTES);
    if (result != LZMA_OK && result != LZMA_STREAM_END && result != LZMA_BUF_ERROR)
        return fail(error, STATUS_INVALID_ARGUMENT, "bad xz data");
    *ret_used = in_length - stream->avail_in;
    *ret_made = out_size - stream->avail_out;
    *ret_ended = result == LZMA_STREAM_END;
    if (*ret_ended)
        begin_xz(unxz);
    return TRUE;
}

struct Bunzip2 {
    bz_stream stream;
};

static void begin_bzip2(Bunzip2 *bunzip2)
{
    bunzip2->stream = (bz_stream){0};
    if (BZ2_bzDecompressInit(&bunzip2->stream, 0, 0) != BZ_OK)
        g_error("cannot set up libbz2");
}

Bunzip2 *bunzip2_new(void)
{
    Bunzip2 *bunzip2 = g_new0(Bunzip2, 1);

    begin_bzip2(bunzip2);
    return bunzip2;
}

void bunzip2_free(Bunzip2 *bunzip2)
{
    if (bunzip2 == NULL)
        return;
    BZ2_bzDecompressEnd(&bunzip2->stream);
    g_free(bunzip2);
}

gboolean bunzip2_step(Bunzip2 *bunzip2, const guint8 *in, gsize in_length, guint8 *out, gsize out_size,
                      gsize *ret_used, gsize *ret_made, gboolean *ret_ended, GError **error)
{
    bz_stream *stream = &bunzip2->stream;
    int result;

    stream->next_in = (char *)in;
    stream->avail_in = (guint)in_length;
    stream->next_out = (char *)out;
    stream->avail_out = (guint)out_size;
    result = BZ2_bzDecompress(stream);
    if (result != BZ_OK && result != BZ_STREAM_END)
        return fail(error, STATUS_INVALID_ARGUMENT, "bad bzip2 data");
    *ret_used = in_length - stream->avail_in;
    *ret_made = out_size - stream->avail_out;
    *ret_ended = result == BZ_STREAM_END;
    if (*ret_ended) {
        BZ2_bzDecompressEnd(stream);
        begin_bzip2(bunzip2);
    }
    return TRUE;
}
