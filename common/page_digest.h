/* SPDX-License-Identifier: Apache-2.0 */
/* The digest of a sparse file: SHA-256 over its pages of 4 KiB that are not all zero, each with its offset
 * before it, in order of offset. It does not depend on where the file has holes.
 *
 * Threads: any, one at a time for a digest.
 */
#pragma once

#include "common/json_writer.h"

enum { PAGE_BYTES = 4096 };

/* Return: whether all bytes are 0. length: at most PAGE_BYTES. */
gboolean page_is_zero(const guint8 *page, gsize length);

typedef struct {
    guint64 bytes;      /* the size of the file */
    guint64 data_bytes; /* of the pages that count */
    char digest[65];    /* hexadecimal, NUL-terminated */
} FileFacts;

typedef struct PageDigest PageDigest;

PageDigest *page_digest_new(void);
void page_digest_free(PageDigest *digest); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PageDigest, page_digest_free)

/* Adds a part of the file. offset: a multiple of 4 KiB, behind the last part; only the file's last part may
 * have a length that is none. */
void page_digest_add(PageDigest *digest, guint64 offset, const guint8 *data, gsize length);
/* Ends the digest, whose file has that size. */
void page_digest_finish(PageDigest *digest, guint64 file_bytes, FileFacts *ret_facts);

/* Calls take() with all data of the file between two offsets, which are multiples of 4 KiB, in parts of whole
 * pages; what lies in a hole of the file is left out. The file is read and not mapped, because another
 * process may cut it. Return: FALSE with errno; EIO when it becomes shorter meanwhile; what take() sets when
 * it returns FALSE. */
typedef gboolean FileDataFunc(guint64 offset, const guint8 *data, gsize length, gpointer user_data);
gboolean file_data_each(int fd, guint64 begin, guint64 end, FileDataFunc *take, gpointer user_data);

/* Writes them as an object, as manifests have them. */
void file_facts_put(JsonWriter *json, const char *name, const FileFacts *facts);
/* Reads the size and the digest of a file. Return: FALSE with errno; ENODATA for an empty file. */
gboolean file_facts(int fd, FileFacts *ret_facts);
