/* SPDX-License-Identifier: Apache-2.0 */
/* The structures of EROFS on disk that the writer and the reader of layers share.
 *
 * Format: https://docs.kernel.org/filesystems/erofs.html and linux/fs/erofs/erofs_fs.h. All numbers are
 * little-endian.
 */
#pragma once

#include <glib.h>

#include "image-service/layers/erofs_attributes.h"

typedef struct {
    guint32 magic;
    guint32 checksum;
    guint32 feature_compat;
    guint8 block_size_bits;
    guint8 extension_slots;
    guint16 root_nid;
    guint64 inode_count;
    guint64 build_time_s;
    guint32 build_time_ns;
    guint32 blocks;
    guint32 meta_block;
    guint32 xattr_block;
    guint8 uuid[16];
    guint8 volume_name[16];
    guint32 feature_incompat;
    guint8 unused[44];
} ErofsSuperBlock;
G_STATIC_ASSERT(sizeof(ErofsSuperBlock) == 128);

typedef struct {
    guint16 format;
    guint16 xattr_count;
    guint16 mode;
    guint16 reserved;
    guint64 size;
    guint32 block_or_rdev;
    guint32 number;
    guint32 uid;
    guint32 gid;
    guint64 mtime_s;
    guint32 mtime_ns;
    guint32 links;
    guint8 reserved2[16];
} ErofsInode;
G_STATIC_ASSERT(sizeof(ErofsInode) == 64);

typedef struct {
    guint64 nid;
    guint16 name_offset;
    guint8 type;
    guint8 reserved;
} __attribute__((packed)) ErofsDiskDirent;
G_STATIC_ASSERT(sizeof(ErofsDiskDirent) == 12);

typedef struct {
    guint8 name_length;
    guint8 name_index;
    guint16 value_length;
} ErofsXattrEntry;
G_STATIC_ASSERT(sizeof(ErofsXattrEntry) == 4);

enum {
    EROFS_MAGIC = 0xE0F5E1E2,
    EROFS_SUPER_OFFSET = 1024,
    EROFS_BLOCK_BITS = 12,
    EROFS_NID_BYTES = 32,
    EROFS_COMPAT_MTIME = 0x2,
    EROFS_EXTENDED_INODE = 1,
    EROFS_LAYOUT_PLAIN = EROFS_EXTENDED_INODE | (0 << 1),
    EROFS_LAYOUT_INLINE = EROFS_EXTENDED_INODE | (2 << 1),
    EROFS_XATTR_HEADER_BYTES = 12,
};

/* The kinds of extended attributes by their number in an ErofsXattrEntry. */
enum {
    EROFS_XATTR_USER = 1,
    EROFS_XATTR_ACL_ACCESS = 2,
    EROFS_XATTR_ACL_DEFAULT = 3,
    EROFS_XATTR_TRUSTED = 4,
    EROFS_XATTR_SECURITY = 6,
};

/* Bytes of the attributes beside an inode, header included. */
gsize erofs_xattr_bytes(const ErofsAttributes *attributes);

static inline guint64 erofs_round_up(guint64 value, guint64 unit)
{
    return (value + unit - 1) / unit * unit;
}
