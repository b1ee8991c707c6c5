/* SPDX-License-Identifier: Apache-2.0 */
/* A sparse file in a form that is compressed, encrypted, or both: chunks (packed_chunk.h), one behind the
 * other, and a table that describes each of them:
 *
 *   8 bytes   the number of the MiB that the chunk is of; they rise
 *   4 bytes   the length of its content
 *   4 bytes   how many bytes of the packed file it has
 *   32 bytes  the SHA-256 of those bytes; of an encrypted file 16 bytes, the tag of AES-GCM
 *
 * Numbers are little-endian. MiB without data have no chunk. The size of the file, the number of chunks, the
 * length of the packed file and the SHA-256 of the table are kept elsewhere (in the manifest, which is
 * authenticated where the file is encrypted), so that nothing can be cut off, added or exchanged.
 *
 * A packed file that is opened may come from anyone, and may change at any time. Its table is copied and
 * checked before it is believed, each chunk is copied and checked before it is decompressed, and a chunk has
 * at most 1 MiB of content, whatever it says. So what is written is at most the size in the manifest, which
 * the caller bounds.
 *
 * Errors: DATA_LOSS for damage, those of the file system, DEADLINE_EXCEEDED, CANCELLED; the messages have the
 * name of the form. Threads: any; these functions start more.
 */
#pragma once

#include "common/deadline.h"
#include "sandbox/checkpoint/packed_chunk.h"

enum {
    PACKED_MAX_CHUNKS = 4 << 20, /* the table is read into memory: 224 MiB for a file of 4 TiB */
    PACKED_MAX_THREADS = 64,
};

typedef struct {
    FileFacts file;       /* the digest is that of the table */
    guint64 stored_bytes; /* the length of the packed file */
    guint64 chunks;
} PackedFacts;

/* Packs the file `from` into the empty file `to`. form is borrowed. */
gboolean packed_file_write(int from, int to, const PackedForm *form, const Deadline *deadline,
                           PackedFacts *ret_facts, GError **error);

typedef struct PackedFile PackedFile;

/* Reads and checks the table. fd is borrowed, and form copied. Return: the caller's; NULL with the error. */
PackedFile *packed_file_open(int fd, const PackedForm *form, const PackedFacts *facts, GError **error);
void packed_file_free(PackedFile *file); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PackedFile, packed_file_free)

/* Calls take() with all data of the file, in parts of whole pages (but for the file's end), from several
 * threads at once and in no order. A part lies within one MiB. What take() got counts only if all of it
 * succeeds. take() returns FALSE with errno to end it. */
gboolean packed_file_each(const PackedFile *file, FileDataFunc *take, gpointer user_data,
                          const Deadline *deadline, GError **error);
