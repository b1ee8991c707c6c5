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
#include "image-service/layers/inflate_other.h"

enum { IN_BYTES = 128 * 1024, OUT_BYTES = 256 * 1024, MAX_ZSTD_WINDOW_LOG = 27, MAGIC_BYTES = 4 };

typedef enum {
    COMPRESSION_NONE,
    COMPRESSION_GZIP,
    COMPRESSION_ZSTD,
    COMPRESSION_XZ,
    COMPRESSION_BZIP2
} Compression;

struct BlobStream {
    BlobStreamSpec spec;
    BlobStreamCheck check; /* NULL: none */
    gpointer check_data;
    Compression compression;
    DigestHash *hash; /* NULL: none */
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
    Unxz *xz;
    Bunzip2 *bzip2;
};

/* Reads more when nothing is left. */
static gboolean fill_input(BlobStream *stream, GError **error)
{
    ssize_t got;

    if (stream->in_at < stream->in_length || stream->in_ended)
        return TRUE;
    if (stream->check != NULL && !stream->check(stream->check_data, error))
        return FALSE;
    got = TEMP_FAILURE_RETRY(read(stream->spec.fd, stream->in, IN_BYTES));
    if (got < 0)
        return fail_errno(error, errno, "cannot read the blob");
    stream->in_at = 0;
    stream->in_length = (gsize)got;
    stream->in_ended = got == 0;
    stream->consumed += (guint64)got;
    return TRUE;
}

static gboolean begins_with(const guint8 *data, gsize length, const char *magic)
{
    return length >= strlen(magic) && memcmp(data, magic, strlen(magic)) == 0;
}

static Compression detect_compression(const BlobStream *stream)
{
    const guint8 *data = stream->in + stream->in_at;
    gsize length = stream->in_length - stream->in_at;

    if (begins_with(data, length, "\x1f\x8b"))
        return COMPRESSION_GZIP;
    if (begins_with(data, length, "\x28\xb5\x2f\xfd"))
        return COMPRESSION_ZSTD;
    /* Skippable frames (zstd:chunked begins with none, but others may). */
    if (length >= 4 && (data[0] & 0xf0) == 0x50 && begins_with(data + 1, length - 1, "\x2a\x4d\x18"))
        return COMPRESSION_ZSTD;
    if (stream->spec.is_archive && begins_with(data, length,
                                               "\xfd"
                                               "7zX"))
        return COMPRESSION_XZ;
    if (stream->spec.is_archive && begins_with(data, length, "BZh"))
        return COMPRESSION_BZIP2;
    return COMPRESSION_NONE;
}

static gboolean set_up_decompression(BlobStream *stream, GError **error)
{
    if (stream->compression != COMPRESSION_NONE)
        stream->out = g_malloc(OUT_BYTES);
    switch (stream->compression) {
    case COMPRESSION_NONE:
        break;
    case COMPRESSION_GZIP:
        stream->gzip = gunzip_new();
        break;
    case COMPRESSION_ZSTD:
        stream->zstd = ZSTD_createDStream();
        if (stream->zstd == NULL)
            return fail(error, STATUS_INTERNAL, "cannot set up decompression");
        ZSTD_DCtx_setParameter(stream->zstd, ZSTD_d_windowLogMax, MAX_ZSTD_WINDOW_LOG);
        break;
    case COMPRESSION_XZ:
        stream->xz = unxz_new();
        break;
    case COMPRESSION_BZIP2:
        stream->bzip2 = bunzip2_new();
        break;
    }
    return TRUE;
}

BlobStream *blob_stream_open(const BlobStreamSpec *spec, GError **error)
{
    g_autoptr(BlobStream) stream = g_new0(BlobStream, 1);

    stream->spec = *spec;
    stream->in = g_malloc(IN_BYTES);
    stream->hash = spec->digest_like != NULL ? digest_hash_new(spec->digest_like) : NULL;
    if (!fill_input(stream, error))
        return NULL;
    stream->compression = detect_compression(stream);
    return set_up_decompression(stream, error) ? g_steal_pointer(&stream) : NULL;
}

void blob_stream_free(BlobStream *stream)
{
    if (stream == NULL)
        return;
    gunzip_free(stream->gzip);
    ZSTD_freeDStream(stream->zstd);
    unxz_free(stream->xz);
    bunzip2_free(stream->bzip2);
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
    static const char *const names[] = {"none", "gzip", "zstd", "xz", "bzip2"};

    return names[stream->compression];
}

guint64 blob_stream_consumed(const BlobStream *stream)
{
    return stream->consumed;
}

static gboolean inflate(BlobStream *stream, const guint8 *in, gsize in_length, guint8 *out, gsize out_size,
                        gsize *ret_used, gsize *ret_made, gboolean *ret_ended, GError **error)
{
    if (stream->compression == COMPRESSION_GZIP)
        return gunzip_step(stream->gzip, in, in_length, out, out_size, ret_used, ret_made, ret_ended, error);
    if (stream->compression == COMPRESSION_XZ)
        return unxz_step(stream->xz, in, in_length, out, out_size, ret_used, ret_made, ret_ended, error);
    return bunzip2_step(stream->bzip2, in, in_length, out, out_size, ret_used, ret_made, ret_ended, error);
}

/* Decompresses what was read, which may give nothing yet. A blob can be several members in a row. */
static gboolean step_members(BlobStream *stream, gsize *length, GError **error)
{
    gsize used = 0;
    gsize made = 0;
    gboolean ended = FALSE;

    if (!inflate(stream, stream->in + stream->in_at, stream->in_length - stream->in_at, stream->out + *length,
                 OUT_BYTES - *length, &used, &made, &ended, error))
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
            read(stream->spec.fd, stream->in + stream->in_length, IN_BYTES - stream->in_length));

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
    if (!stream->in_trailing && detect_compression(stream) == stream->compression)
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
        if (!(stream->compression == COMPRESSION_ZSTD ? step_zstd : step_members)(stream, &length, error))
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
    if (length > stream->spec.max_bytes - stream->produced)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the %s is larger than %" G_GUINT64_FORMAT " bytes unpacked (%s)", stream->spec.what,
                    stream->spec.max_bytes, stream->spec.option);
    if (stream->hash != NULL)
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
