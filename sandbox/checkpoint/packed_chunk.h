/* SPDX-License-Identifier: Apache-2.0 */
/* One chunk of a packed file (packed_file.h): the pages that are not all zero of 1 MiB of a file, compressed,
 * encrypted, or both.
 *
 * The content of a chunk is a map of 256 bits, one for each page of 4 KiB from the lowest bit of the first
 * byte on, and the pages whose bit is 1; the file's last page is filled up with zeros. The content is
 * compressed to one frame of zstd where that makes it smaller, and stored as it is otherwise. Of an encrypted
 * file the result is encrypted by AES-256-GCM:
 *
 *   key         of this file of this checkpoint alone
 *   nonce       the number of the chunk's MiB in 8 bytes, and 4 zeros; little-endian, as all numbers here
 *   additional  the file's name, a NUL, and the first 16 bytes of the chunk's entry in the table
 *
 * So no nonce is used twice under a key, and a chunk is accepted at its own place of its own file alone.
 *
 * Threads: a coder belongs to one thread at a time.
 */
#pragma once

#include "common/page_digest.h"

enum {
    PACKED_WINDOW_BYTES = 1 << 20,
    PACKED_WINDOW_PAGES = PACKED_WINDOW_BYTES / PAGE_BYTES,
    PACKED_MAP_BYTES = PACKED_WINDOW_PAGES / 8,
    PACKED_CONTENT_BYTES = PACKED_MAP_BYTES + PACKED_WINDOW_BYTES, /* at most */
    PACKED_KEY_BYTES = 32,
    PACKED_DIGEST_BYTES = 32, /* SHA-256 */
    PACKED_TAG_BYTES = 16,
    PACKED_MAX_LEVEL = 19, /* of zstd */
};

/* How a file is packed. */
typedef struct {
    const char *name;  /* of the file in the checkpoint */
    gboolean compress; /* by zstd */
    guint level;       /* 1 to PACKED_MAX_LEVEL; for writing */
    guint threads;     /* at most; 0: one for each processor */
    gboolean encrypt;
    guint8 key[PACKED_KEY_BYTES];
} PackedForm;

/* A chunk, as the table of its file describes it. */
typedef struct {
    guint64 window;                    /* the number of its MiB in the file */
    guint32 length;                    /* of its content */
    guint32 stored;                    /* bytes in the packed file, at most length */
    guint8 check[PACKED_DIGEST_BYTES]; /* the digest of what is stored, or its tag */
    guint64 position;                  /* in the packed file */
} PackedChunk;

/* Return: how many bytes of check a chunk has. */
gsize packed_check_bytes(const PackedForm *form);

/* The entry of a chunk: window, length, stored, check. */
enum { PACKED_ENTRY_HEAD_BYTES = 16 };
void packed_entry_put(const PackedForm *form, const PackedChunk *chunk, guint8 *ret_entry);
void packed_entry_get(const PackedForm *form, const guint8 *entry, PackedChunk *ret_chunk);

typedef struct PackedCoder PackedCoder;

/* form is borrowed. */
PackedCoder *packed_coder_new(const PackedForm *form);
void packed_coder_free(PackedCoder *coder); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PackedCoder, packed_coder_free)

/* Begins the content of a chunk, to which packed_coder_add() adds the pages of a part of its window that are
 * not all zero, in order. offset: in the window, a multiple of PAGE_BYTES. */
void packed_coder_begin(PackedCoder *coder);
void packed_coder_add(PackedCoder *coder, gsize offset, const guint8 *data, gsize length);
/* Return: how many pages were added. */
guint packed_coder_pages(const PackedCoder *coder);
/* Fills in length, stored and check of the chunk, whose window is set. Return: what is to be stored, the
 * coder's until its next call. */
const guint8 *packed_coder_encode(PackedCoder *coder, PackedChunk *chunk);

/* Return: the place to which chunk->stored bytes, at most PACKED_CONTENT_BYTES, are read. */
guint8 *packed_coder_stored(PackedCoder *coder);
/* Checks what is there, and decodes it. Return: its content, whose map agrees with its length, the coder's
 * until its next call; NULL with DATA_LOSS. */
const guint8 *packed_coder_decode(PackedCoder *coder, const PackedChunk *chunk, GError **error);

/* Return: whether the map has that page. */
static inline gboolean packed_map_has(const guint8 *map, guint page)
{
    return (map[page / 8] >> (page % 8)) & 1;
}
