/* SPDX-License-Identifier: Apache-2.0 */
/* A layer blob as the bytes of its tar: decompressed (none, gzip, zstd, recognised by the content), hashed
 * and counted on the way.
 *
 * Padding and other bytes behind the last gzip member or zstd frame are skipped. One thread per stream. The
 * descriptor stays the caller's and is read from where it stands.
 */
#pragma once

#include <glib.h>

typedef struct BlobStream BlobStream;

/* max_bytes bounds what comes out; digest_like: a digest whose algorithm is used. */
BlobStream *blob_stream_open(int fd, guint64 max_bytes, const char *digest_like, GError **error);
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

/* "none", "gzip" or "zstd". */
const char *blob_stream_compression(const BlobStream *stream);
/* Compressed bytes read by now. */
guint64 blob_stream_consumed(const BlobStream *stream);
/* The digest of all that came out; once, after the end. */
char *blob_stream_digest(BlobStream *stream);
