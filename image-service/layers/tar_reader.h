/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a tar that is not trusted, entry by entry, with libarchive.
 *
 * libarchive keeps what the headers of an entry hold (pax records, long names, ACLs, the map of a sparse
 * file), and the format sets no limit. Here the headers of one entry take at most 1 MiB. All archives are
 * read through this: layers, archives of images, copies out of containers.
 *
 * The bytes come from the caller, uncompressed. Errors: the source's, or INVALID_ARGUMENT, whose message
 * begins with `what`. One thread for each reader.
 */
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <glib.h>

typedef struct TarReader TarReader;

/* The next piece, valid until the next call; *ret_length 0 at the end. */
typedef gboolean (*TarSource)(gpointer data, const guint8 **ret_data, gsize *ret_length, GError **error);

/* what: how messages about the tar begin ("bad tar"); a constant. An empty source is a tar without entries.
 */
TarReader *tar_reader_open(TarSource source, gpointer data, const char *what, GError **error);
void tar_reader_free(TarReader *reader); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TarReader, tar_reader_free)

/* *ret_entry: the next entry, valid until the next call; NULL at the end. */
gboolean tar_reader_next(TarReader *reader, struct archive_entry **ret_entry, GError **error);

/* A piece of the content of the entry. */
typedef struct {
    const void *data;
    size_t length;
    la_int64_t offset;
} TarBlock;

/* The next piece, valid until the next call; *ret_end: there is none. */
gboolean tar_reader_data(TarReader *reader, TarBlock *ret_block, gboolean *ret_end, GError **error);
