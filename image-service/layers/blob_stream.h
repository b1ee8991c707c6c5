/* SPDX-License-Identifier: Apache-2.0 */
/* A layer blob or an archive of images as the bytes of its tar: decompressed (recognised by the content, one
 * compression only), hashed and counted on the way, in bounded memory.
 *
 * Padding and other bytes behind the last gzip member or zstd frame are skipped. One thread per stream. The
 * descriptor stays the caller's and is read from where it stands.
 */
#pragma once

#include <glib.h>

typedef struct BlobStream BlobStream;

typedef struct {
    int fd;
    guint64 max_bytes;       /* of what comes out */
    const char *what;        /* "layer", in messages; a constant, as is */
    const char *option;      /* the option that sets max_bytes */
    const char *digest_like; /* a digest whose algorithm is used; NULL: nothing is hashed */
    gboolean is_archive;     /* it may be xz or bzip2, which layers never are, besides gzip, zstd and none */
} BlobStreamSpec;

/* spec is copied. */
BlobStream *blob_stream_open(const BlobStreamSpec *spec, GError **error);
void blob_stream_free(BlobStream *stream); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlobStream, blob_stream_free)

/* Whether reading may go on; sets *error when not. */
typedef gboolean (*BlobStreamCheck)(gpointer data, GError **error);
/* Called for each 128 KiB of the blob, also while nothing comes out: a gigabyte of empty gzip members is one
 * blob_stream_read(). */
void blob_stream_set_check(BlobStream *stream, BlobStreamCheck check, gpointer data);

/* The next piece, valid until the next call; *ret_length 0 at the end. INVALID_ARGUMENT for broken data,
 * RESOURCE_EXHAUSTED over the limit; the check's. */
gboolean blob_stream_read(BlobStream *stream, const guint8 **ret_data, gsize *ret_length, GError **error);

/* "none", "gzip", "zstd", "xz" or "bzip2". */
const char *blob_stream_compression(const BlobStream *stream);
/* Compressed bytes read by now. */
guint64 blob_stream_consumed(const BlobStream *stream);
/* The digest of all that came out; once, after the end. */
char *blob_stream_digest(BlobStream *stream);
