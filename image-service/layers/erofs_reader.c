/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/erofs_reader.h"

#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "image-service/layers/erofs_format.h"

enum { MAX_TARGET_BYTES = 4096 };

struct ErofsReader {
    char *path;
    GMappedFile *file;
    const guint8 *data;
    guint64 length;
    guint64 root_nid;
};

/* An inode, decoded, and where what belongs to it lies. */
typedef struct {
    ErofsInode disk;
    mode_t mode;
    guint64 size;
    gboolean is_inline;
    guint64 xattrs_offset; /* of the entries, behind their header */
    gsize xattrs_bytes;
    guint64 inline_offset;
    guint64 data_offset;
} Inode;

static gboolean fail_damaged(const ErofsReader *reader, GError **error)
{
    return fail(error, STATUS_DATA_LOSS, "the layer file %s is damaged", reader->path);
}

/* Whether that many bytes are there. */
static gboolean has_range(const ErofsReader *reader, guint64 offset, guint64 length)
{
    return offset <= reader->length && length <= reader->length - offset;
}

ErofsReader *erofs_reader_open(const char *path, GError **error)
{
    g_autoptr(ErofsReader) reader = g_new0(ErofsReader, 1);
    g_autoptr(GError) failure = NULL;
    ErofsSuperBlock super;

    reader->path = g_strdup(path);
    reader->file = g_mapped_file_new(path, FALSE, &failure);
    if (reader->file == NULL) {
        fail(error, error_status(failure), "cannot read the layer file %s: %s", path, failure->message);
        return NULL;
    }
    reader->data = (const guint8 *)g_mapped_file_get_contents(reader->file);
    reader->length = g_mapped_file_get_length(reader->file);
    if (!has_range(reader, EROFS_SUPER_OFFSET, sizeof super)) {
        fail_damaged(reader, error);
        return NULL;
    }
    memcpy(&super, reader->data + EROFS_SUPER_OFFSET, sizeof super);
    if (GUINT32_FROM_LE(super.magic) != EROFS_MAGIC || super.block_size_bits != EROFS_BLOCK_BITS ||
        super.meta_block != 0) {
        fail_damaged(reader, error);
        return NULL;
    }
    reader->root_nid = GUINT16_FROM_LE(super.root_nid);
    return g_steal_pointer(&reader);
}

void erofs_reader_free(ErofsReader *reader)
{
    if (reader == NULL)
        return;
    g_clear_pointer(&reader->file, g_mapped_file_unref);
    g_free(reader->path);
    g_free(reader);
}

guint64 erofs_reader_root(const ErofsReader *reader)
{
    return reader->root_nid;
}

static gboolean read_inode(const ErofsReader *reader, guint64 nid, Inode *ret_inode, GError **error)
{
    Inode inode = {0};
    guint64 offset;
    guint16 xattr_count;
    guint64 in_blocks;
    gsize tail;

    if (nid > reader->length / EROFS_NID_BYTES ||
        !has_range(reader, nid * EROFS_NID_BYTES, sizeof inode.disk))
        return fail_damaged(reader, error);
    offset = nid * EROFS_NID_BYTES;
    memcpy(&inode.disk, reader->data + offset, sizeof inode.disk);
    offset += sizeof inode.disk;
    inode.mode = GUINT16_FROM_LE(inode.disk.mode);
    inode.size = GUINT64_FROM_LE(inode.disk.size);
    inode.is_inline = GUINT16_FROM_LE(inode.disk.format) == EROFS_LAYOUT_INLINE;
    xattr_count = GUINT16_FROM_LE(inode.disk.xattr_count);
    if (xattr_count > 0) {
        inode.xattrs_offset = offset + EROFS_XATTR_HEADER_BYTES;
        inode.xattrs_bytes = (gsize)(xattr_count - 1) * 4;
        if (!has_range(reader, inode.xattrs_offset, inode.xattrs_bytes))
            return fail_damaged(reader, error);
        offset = inode.xattrs_offset + inode.xattrs_bytes;
    }
    if (!S_ISDIR(inode.mode) && !S_ISLNK(inode.mode) && !S_ISREG(inode.mode)) {
        *ret_inode = inode;
        return TRUE;
    }
    tail = inode.is_inline ? inode.size % EROFS_BLOCK_BYTES : 0;
    in_blocks = inode.size - tail;
    inode.inline_offset = offset;
    inode.data_offset = (guint64)GUINT32_FROM_LE(inode.disk.block_or_rdev) << EROFS_BLOCK_BITS;
    if (!has_range(reader, inode.inline_offset, tail) ||
        (in_blocks > 0 && !has_range(reader, inode.data_offset, in_blocks)))
        return fail_damaged(reader, error);
    *ret_inode = inode;
    return TRUE;
}

/* The bytes of one block of a directory or link. */
static const guint8 *inode_block(const ErofsReader *reader, const Inode *inode, guint64 block,
                                 gsize *ret_length)
{
    guint64 offset = block * EROFS_BLOCK_BYTES;
    guint64 left = inode->size - offset;

    *ret_length = (gsize)MIN(left, (guint64)EROFS_BLOCK_BYTES);
    if (inode->is_inline && left < EROFS_BLOCK_BYTES)
        return reader->data + inode->inline_offset;
    return reader->data + inode->data_offset + offset;
}

/* Directories */

/* A block of entries: how many there are, FALSE when that cannot be. */
static gboolean dirent_count(const guint8 *block, gsize length, guint *ret_count)
{
    ErofsDiskDirent first;
    guint16 names;

    if (length < sizeof first)
        return FALSE;
    memcpy(&first, block, sizeof first);
    names = GUINT16_FROM_LE(first.name_offset);
    if (names < sizeof first || names > length || names % sizeof first != 0)
        return FALSE;
    *ret_count = names / (guint)sizeof first;
    return TRUE;
}

/* Compares a name with that of an entry, as strcmp(). *ret_good is FALSE when the entry is damaged. */
static int compare_with_dirent(const char *name, const guint8 *block, gsize length, guint index, guint count,
                               guint64 *ret_nid, gboolean *ret_good)
{
    ErofsDiskDirent entry;
    ErofsDiskDirent next = {0};
    gsize begin;
    gsize end = length;
    int order;

    memcpy(&entry, block + index * sizeof entry, sizeof entry);
    if (index + 1 < count) {
        memcpy(&next, block + (index + 1) * sizeof next, sizeof next);
        end = GUINT16_FROM_LE(next.name_offset);
    }
    begin = GUINT16_FROM_LE(entry.name_offset);
    *ret_good = begin < end && end <= length;
    if (!*ret_good)
        return 0;
    end = begin + strnlen((const char *)block + begin, end - begin); /* the last name of a block is padded */
    *ret_nid = GUINT64_FROM_LE(entry.nid);
    order = memcmp(name, block + begin, MIN(strlen(name), end - begin));
    if (order != 0)
        return order;
    return (strlen(name) > end - begin) - (strlen(name) < end - begin);
}

/* The last block whose first name is not behind the name; blocks and the names in them are sorted. */
static gboolean find_block(const ErofsReader *reader, const Inode *inode, const char *name,
                           guint64 *ret_block, GError **error)
{
    guint64 low = 0;
    guint64 high = (inode->size + EROFS_BLOCK_BYTES - 1) / EROFS_BLOCK_BYTES;

    while (high - low > 1) {
        guint64 middle = low + (high - low) / 2;
        gsize length;
        const guint8 *block = inode_block(reader, inode, middle, &length);
        gboolean good;
        guint64 nid;
        guint count;

        if (!dirent_count(block, length, &count))
            return fail_damaged(reader, error);
        if (compare_with_dirent(name, block, length, 0, count, &nid, &good) < 0)
            high = middle;
        else
            low = middle;
        if (!good)
            return fail_damaged(reader, error);
    }
    *ret_block = low;
    return TRUE;
}

gboolean erofs_reader_find(const ErofsReader *reader, guint64 directory_nid, const char *name,
                           gboolean *ret_found, guint64 *ret_nid, GError **error)
{
    const guint8 *block;
    gsize length;
    guint64 number = 0;
    guint count;
    Inode inode;

    if (!read_inode(reader, directory_nid, &inode, error))
        return FALSE;
    if (!S_ISDIR(inode.mode) || inode.size == 0)
        return fail_damaged(reader, error);
    if (!find_block(reader, &inode, name, &number, error))
        return FALSE;
    block = inode_block(reader, &inode, number, &length);
    if (!dirent_count(block, length, &count))
        return fail_damaged(reader, error);
    for (guint i = 0; i < count; i++) {
        gboolean good;
        guint64 nid;
        int order = compare_with_dirent(name, block, length, i, count, &nid, &good);

        if (!good)
            return fail_damaged(reader, error);
        if (order != 0)
            continue;
        *ret_found = TRUE;
        *ret_nid = nid;
        return TRUE;
    }
    *ret_found = FALSE;
    return TRUE;
}

/* Attributes */

static const char opaque_suffix[] = "overlay.opaque";

/* Copies the entries except trusted.*, which speak to overlayfs about this layer. */
static gboolean copy_xattrs(const ErofsReader *reader, const Inode *inode, GByteArray **ret_xattrs,
                            gboolean *ret_is_opaque, GError **error)
{
    g_autoptr(GByteArray) xattrs = NULL;
    const guint8 *entries = reader->data + inode->xattrs_offset;
    gboolean is_opaque = FALSE;

    for (gsize at = 0; at < inode->xattrs_bytes;) {
        ErofsXattrEntry entry;
        gsize bytes;

        if (inode->xattrs_bytes - at < sizeof entry)
            return fail_damaged(reader, error);
        memcpy(&entry, entries + at, sizeof entry);
        bytes = (gsize)erofs_round_up(
            sizeof entry + entry.name_length + (guint64)GUINT16_FROM_LE(entry.value_length), 4);
        if (bytes > inode->xattrs_bytes - at)
            return fail_damaged(reader, error);
        if (entry.name_index != EROFS_XATTR_TRUSTED) {
            if (xattrs == NULL)
                xattrs = g_byte_array_new();
            g_byte_array_append(xattrs, entries + at, (guint)bytes);
        } else if (entry.name_length == strlen(opaque_suffix) &&
                   memcmp(entries + at + sizeof entry, opaque_suffix, entry.name_length) == 0) {
            is_opaque = TRUE;
        }
        at += bytes;
    }
    *ret_xattrs = g_steal_pointer(&xattrs);
    if (ret_is_opaque != NULL)
        *ret_is_opaque = is_opaque;
    return TRUE;
}

gboolean erofs_reader_attributes(const ErofsReader *reader, guint64 nid, ErofsAttributes *ret_attributes,
                                 gboolean *ret_is_opaque, GError **error)
{
    ErofsAttributes attributes = {0};
    guint32 rdev;
    Inode inode;

    if (!read_inode(reader, nid, &inode, error) ||
        !copy_xattrs(reader, &inode, &attributes.xattrs, ret_is_opaque, error))
        return FALSE;
    attributes.mode = inode.mode;
    attributes.uid = GUINT32_FROM_LE(inode.disk.uid);
    attributes.gid = GUINT32_FROM_LE(inode.disk.gid);
    attributes.mtime_s = (gint64)GUINT64_FROM_LE(inode.disk.mtime_s);
    attributes.mtime_ns = GUINT32_FROM_LE(inode.disk.mtime_ns);
    if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
        rdev = GUINT32_FROM_LE(inode.disk.block_or_rdev);
        attributes.rdev_major = (rdev >> 8) & 0xfff;
        attributes.rdev_minor = (rdev & 0xff) | ((rdev >> 12) & ~0xffU);
    }
    *ret_attributes = attributes;
    return TRUE;
}

gboolean erofs_reader_content(const ErofsReader *reader, guint64 nid, ErofsContent *ret_content,
                              GError **error)
{
    ErofsContent content = {0};
    Inode inode;

    if (!read_inode(reader, nid, &inode, error))
        return FALSE;
    if (!S_ISREG(inode.mode))
        return fail_damaged(reader, error);
    content.tail_length = inode.is_inline ? (gsize)(inode.size % EROFS_BLOCK_BYTES) : 0;
    content.blocks_length = inode.size - content.tail_length;
    if (content.blocks_length > 0)
        content.blocks = reader->data + inode.data_offset;
    if (content.tail_length > 0)
        content.tail = reader->data + inode.inline_offset;
    *ret_content = content;
    return TRUE;
}

char *erofs_reader_link_target(const ErofsReader *reader, guint64 nid, GError **error)
{
    const guint8 *block;
    gsize length;
    Inode inode;

    if (!read_inode(reader, nid, &inode, error))
        return NULL;
    if (!S_ISLNK(inode.mode) || inode.size == 0 || inode.size >= MAX_TARGET_BYTES) {
        fail_damaged(reader, error);
        return NULL;
    }
    block = inode_block(reader, &inode, 0, &length);
    return g_strndup((const char *)block, length);
}
