/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the names and attributes of an EROFS image that erofs_writer.h made.
 *
 * Knows what the writer writes and nothing more: uncompressed, 4 KiB blocks, extended inodes, no shared
 * attributes. Every offset is checked all the same, because a disk may be damaged: what does not fit is
 * DATA_LOSS. The file is mapped; the reader keeps no descriptor. A reader is immutable: any thread may use
 * it.
 */
#pragma once

#include "image-service/layers/erofs_attributes.h"

typedef struct ErofsReader ErofsReader;

ErofsReader *erofs_reader_open(const char *path, GError **error);
void erofs_reader_free(ErofsReader *reader); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ErofsReader, erofs_reader_free)

guint64 erofs_reader_root(const ErofsReader *reader);

/* Finds a name in a directory. *ret_found is FALSE when the directory does not have it. */
gboolean erofs_reader_find(const ErofsReader *reader, guint64 directory_nid, const char *name,
                           gboolean *ret_found, guint64 *ret_nid, GError **error);

/* *ret_attributes: the caller frees its xattrs, which are all but trusted.*; *ret_is_opaque (may be NULL):
 * whether the inode is a directory that hides those of the layers below. */
gboolean erofs_reader_attributes(const ErofsReader *reader, guint64 nid, ErofsAttributes *ret_attributes,
                                 gboolean *ret_is_opaque, GError **error);

/* The content of a regular file, borrowed from the reader: whole blocks, and the rest when that lies beside
 * the inode (its length is 0 otherwise). */
typedef struct {
    const guint8 *blocks;
    guint64 blocks_length;
    const guint8 *tail;
    gsize tail_length;
} ErofsContent;
gboolean erofs_reader_content(const ErofsReader *reader, guint64 nid, ErofsContent *ret_content,
                              GError **error);

/* The target of a symbolic link, in a new string. */
char *erofs_reader_link_target(const ErofsReader *reader, guint64 nid, GError **error);
