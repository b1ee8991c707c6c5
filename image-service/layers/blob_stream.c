/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/blob_stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "common/error.h"
#include "image-service/content/digest.h"
#include "image-service/layers/gunzip.h"

enum { IN_BYTES = 128 * 1024, OUT_BYTES = 256 * 1024, MAX_ZSTD_WINDOW_LOG = 27, MAGIC_BYTES = 4 };

typedef enum { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD } Compression;

struct BlobStream {
    int fd;
    BlobStreamCheck check; /* NULL: none */
    gpointer check_data;
    Compression compression;
    DigestHash *hash;
    guint64 max_bytes;
    guint64 produced;
    guint64 consumed;
    guint8 *in;
    gsize in_at;
    gsize in_length;
    gboolean in_ended;
    guint8 *out;
    gboolean mid_frame;   /* a gzip member or zstd frame has begun and not ended */
    gboolean any_frame;   /* one has ended */
    gboolean in_trailing; /* what comes is behind the last one */
    gboolean ended;
    Gunzip *gzip;
    ZSTD_DStream *zstd;
};

/* Reads more when nothing is left. */
static gboolean fill_input(BlobStream *stream, GError **error)
{
    ssize_t got;

    if (stream->in_at < stream->in_length || stream->in_ended)
        return TRUE;
    if (stream->check != NULL && !stream->check(stream->check_data, error))
        return FALSE;
    got = TEMP_FAILURE_RETRY(read(stream->fd, stream->in, IN_BYTES));
    if (got < 0)
        return fail_errno(error, errno, "cannot read the blob");
    stream->in_at = 0;
    stream->in_length = (gsize)got;
    stream->in_ended = got == 0;
    stream->consumed += (guint64)got;
    return TRUE;
}

static Compression detect_compression(const guint8 *data, gsize length)
{
    static const guint8 gzip_magic[] = {0x1f, 0x8b};
    static const guint8 zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};

    if (length >= sizeof gzip_magic && memcmp(data, gzip_magic, sizeof gzip_magic) == 0)
        return COMPRESSION_GZIP;
    if (length >= sizeof zstd_magic && memcmp(data, zstd_magic, sizeof zstd_magic) == 0)
        return COMPRESSION_ZSTD;
    /* Skippable frames (zstd:chunked begins with none, but others may). */
    if (length >= 4 && (data[0] & 0xf0) == 0x50 && data[1] == 0x2a && data[2] == 0x4d && data[3] == 0x18)
        return COMPRESSION_ZSTD;
    return COMPRESSION_NONE;
}

BlobStream *blob_stream_open(int fd, guint64 max_bytes, const char *digest_like, GError **error)
{
    g_autoptr(BlobStream) stream = g_new0(BlobStream, 1);

    stream->fd = fd;
    stream->max_bytes = max_bytes;
    stream->in = g_malloc(IN_BYTES);
    stream->hash = digest_hash_new(digest_like);
    if (!fill_input(stream, error))
        return NULL;
    stream->compression = detect_compression(stream->in, stream->in_length);
    if (stream->compression != COMPRESSION_NONE)
        stream->out = g_malloc(OUT_BYTES);
    if (stream->compression == COMPRESSION_GZIP)
        stream->gzip = gunzip_new();
    if (stream->compression == COMPRESSION_ZSTD && (stream->zstd = ZSTD_createDStream()) == NULL) {
        fail(error, STATUS_INTERNAL, "cannot set up decompression");
        return NULL;
    }
    if (stream->zstd != NULL)
        ZSTD_DCtx_setParameter(stream->zstd, ZSTD_d_windowLogMax, MAX_ZSTD_WINDOW_LOG);
    return g_steal_pointer(&stream);
}

void blob_stream_free(BlobStream *stream)
{
    if (stream == NULL)
        return;
    gunzip_free(stream->gzip);
    ZSTD_freeDStream(stream->zstd);
    digest_hash_free(stream->hash);
    g_free(stream->in);
    g_free(stream->out);
    g_free(stream);
}

void blob_stream_set_check(BlobStream *stream, BlobStreamCheck check, gpointer data)
{
    stream->check = check;
    stream->check_data = data;
}

const char *blob_stream_compression(const BlobStream *stream)
{
    static const char *const names[] = {"none", "gzip", "zstd"};

    return names[stream->compression];
}

guint64 blob_stream_consumed(const BlobStream *stream)
{
    return stream->consumed;
}

/* Decompresses what was read, which may give nothing yet. A blob can be several members in a row. */
static gboolean step_gzip(BlobStream *stream, gsize *length, GError **error)
{
    gsize used = 0;
    gsize made = 0;
    gboolean ended = FALSE;

    if (!gunzip_step(stream->gzip, stream->in + stream->in_at, stream->in_length - stream->in_at,
                     stream->out + *length, OUT_BYTES - *length, &used, &made, &ended, error))
        return FALSE;
    stream->in_at += used;
    *length += made;
    stream->mid_frame = !ended;
    stream->any_frame |= ended;
    return TRUE;
}

static gboolean step_zstd(BlobStream *stream, gsize *length, GError **error)
{
    ZSTD_inBuffer in = {stream->in, stream->in_length, stream->in_at};
    ZSTD_outBuffer out = {stream->out, OUT_BYTES, *length};
    gsize left = ZSTD_decompressStream(stream->zstd, &out, &in);

    if (ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge)
        return fail(error, STATUS_INVALID_ARGUMENT, "bad zstd data: its window is larger than %d bytes",
                    1 << MAX_ZSTD_WINDOW_LOG);
    if (ZSTD_isError(left))
        return fail(error, STATUS_INVALID_ARGUMENT, "bad zstd data: %s", ZSTD_getErrorName(left));
    stream->in_at = in.pos;
    *length = out.pos;
    stream->mid_frame = left != 0;
    stream->any_frame |= left == 0;
    return TRUE;
}

/* At the end of a gzip member or zstd frame: makes sure that the beginning of what follows can be seen. */
static gboolean look_ahead(BlobStream *stream, GError **error)
{
    gsize left = stream->in_length - stream->in_at;

    memmove(stream->in, stream->in + stream->in_at, left);
    stream->in_at = 0;
    stream->in_length = left;
    while (stream->in_length < MAGIC_BYTES && !stream->in_ended) {
        ssize_t got = TEMP_FAILURE_RETRY(
            read(stream->fd, stream->in + stream->in_length, IN_BYTES - stream->in_length));

        if (got < 0)
            return fail_errno(error, errno, "cannot read the blob");
        stream->in_length += (gsize)got;
        stream->in_ended = got == 0;
        stream->consumed += (guint64)got;
    }
    return TRUE;
}

/* Some tools pad blobs or leave bytes behind them. What follows a whole member or frame and does not begin
 * another one is skipped; the blob's digest covers it, and the diff id what came before. */
static gboolean skip_trailing_bytes(BlobStream *stream, GError **error)
{
    if (stream->mid_frame || !stream->any_frame || stream->in_length - stream->in_at == 0)
        return TRUE;
    if (stream->in_length - stream->in_at < MAGIC_BYTES && !look_ahead(stream, error))
        return FALSE;
    if (!stream->in_trailing && detect_compression(stream->in + stream->in_at,
                                                   stream->in_length - stream->in_at) == stream->compression)
        return TRUE;
    stream->in_trailing = TRUE;
    stream->in_at = stream->in_length;
    return TRUE;
}

static gboolean decompress(BlobStream *stream, gsize *ret_length, GError **error)
{
    gsize length = 0;

    while (length < OUT_BYTES) {
        gsize at = stream->in_at;
        gsize before = length;

        if (!fill_input(stream, error) || !skip_trailing_bytes(stream, error))
            return FALSE;
        if (stream->in_at == stream->in_length && !stream->mid_frame) {
            if (stream->in_ended)
                break;
            continue;
        }
        if (!(stream->compression == COMPRESSION_GZIP ? step_gzip : step_zstd)(stream, &length, error))
            return FALSE;
        if (stream->in_ended && stream->mid_frame && length == before && stream->in_at == at)
            return fail(error, STATUS_INVALID_ARGUMENT, "the compressed data ends too early");
    }
    *ret_length = length;
    return TRUE;
}

gboolean blob_stream_read(BlobStream *stream, const guint8 **ret_data, gsize *ret_length, GError **error)
{
    const guint8 *data = stream->out;
    gsize length = 0;

    if (stream->compression == COMPRESSION_NONE) {
        if (!fill_input(stream, error))
            return FALSE;
        data = stream->in + stream->in_at;
        length = stream->in_length - stream->in_at;
        stream->in_at = stream->in_length;
    } else if (!stream->ended && !decompress(stream, &length, error)) {
        return FALSE;
    }
    stream->ended = length == 0;
    if (length > stream->max_bytes - stream->produced)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the layer is larger than %" G_GUINT64_FORMAT " bytes unpacked (images.max_layer_size)",
                    stream->max_bytes);
    digest_hash_update(stream->hash, data, length);
    stream->produced += length;
    *ret_data = data;
    *ret_length = length;
    return TRUE;
}

char *blob_stream_digest(BlobStream *stream)
{
    return digest_hash_finish(stream->hash);
}
