/* SPDX-License-Identifier: Apache-2.0 */
/* Writes an EROFS image straight into a file, in one pass, as its contents become known.
 *
 * Regular files are written as they arrive and their inodes right behind them, so nothing is staged on the
 * host's file system and a hostile name never reaches it. Directories are written last, from the names that
 * layer_tree.h holds. Uncompressed, 4 KiB blocks, extended inodes (32-bit ids, nanosecond times), tails of
 * files inline where they fit; extents of inodes lie between extents of data, as the format allows.
 * Format: https://docs.kernel.org/filesystems/erofs.html and linux/fs/erofs/erofs_fs.h; readable since 5.4.
 *
 * A writer belongs to one thread. The file must be empty; its descriptor stays the caller's.
 */
#pragma once

#include "image-service/layers/erofs_attributes.h"
#include "image-service/layers/erofs_directory.h"

typedef struct ErofsWriter ErofsWriter;

ErofsWriter *erofs_writer_new(int fd);
void erofs_writer_free(ErofsWriter *writer); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ErofsWriter, erofs_writer_free)

/* Derives the UUID of the file system from text, which identifies the layer. overlayfs tells the layers of an
 * image apart by their UUIDs; without them it cannot keep a file's inode number when it copies the file to
 * the writable layer. */
void erofs_writer_identify(ErofsWriter *writer, const char *text);

/* A regular file: begin, data at rising offsets (gaps stay holes of the image and read as zeros), end.
 * *ret_nid is the inode's number in the image. */
gboolean erofs_writer_begin_file(ErofsWriter *writer, const ErofsAttributes *attributes, guint64 size,
                                 GError **error);
gboolean erofs_writer_file_data(ErofsWriter *writer, guint64 offset, const void *data, gsize length,
                                GError **error);
gboolean erofs_writer_end_file(ErofsWriter *writer, guint64 *ret_nid, GError **error);

/* A symbolic link (target), or a device, FIFO or socket (target NULL). */
gboolean erofs_writer_special(ErofsWriter *writer, const ErofsAttributes *attributes, const char *target,
                              guint64 *ret_nid, GError **error);

/* Corrects the link count of an inode written before (they start with 1). */
gboolean erofs_writer_set_links(ErofsWriter *writer, guint64 nid, guint32 links, GError **error);

/* Where a directory will lie: reserved first, because parents and children name each other's numbers. */
typedef struct {
    guint64 nid;
    guint64 data_offset; /* of the whole blocks */
    guint64 size;
    gsize inline_bytes;
} ErofsDirectory;

/* names: ErofsDirent with only the name needed, sorted by erofs_dirent_compare() and with "." and ".." among
 * them. The first directory reserved is the root. */
gboolean erofs_writer_reserve_directory(ErofsWriter *writer, const ErofsAttributes *attributes,
                                        const GArray *names, ErofsDirectory *ret_place, GError **error);
gboolean erofs_writer_directory(ErofsWriter *writer, const ErofsDirectory *place,
                                const ErofsAttributes *attributes, const GArray *names, guint32 links,
                                GError **error);

/* Writes the super block. The file is complete then, but not synced. */
gboolean erofs_writer_finish(ErofsWriter *writer, GError **error);
