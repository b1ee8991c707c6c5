/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/erofs_writer.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "image-service/layers/erofs_directory.h"
#include "image-service/layers/erofs_format.h"

enum {
    BLOCK = EROFS_BLOCK_BYTES,
    /* The super block has 16 bits for the number of the root, so the root's inode has the rest of the first
     * block. */
    ROOT_OFFSET = EROFS_SUPER_OFFSET + sizeof(ErofsSuperBlock),
    ROOT_MAX_BYTES = BLOCK - ROOT_OFFSET,
    /* Inodes are gathered in extents of this size between the data: large enough that a walk over the tree
     * reads few of them, small enough that an image of one file stays small. */
    FIRST_META_EXTENT = 4 * BLOCK,
    MAX_META_EXTENT = 64 * BLOCK,
};

struct ErofsWriter {
    int fd;
    guint64 end;        /* first byte that nothing has been given yet; a multiple of BLOCK */
    GByteArray *meta;   /* the open extent, not yet on disk */
    guint64 meta_start; /* where it goes */
    gsize meta_size;    /* what it may grow to */
    guint64 inodes;
    gboolean has_root;
    guint8 uuid[16];
    /* The file being written. */
    ErofsAttributes file;
    guint64 file_size;
    guint64 file_start; /* of its whole blocks */
    gboolean file_inline;
    guint8 tail[BLOCK];
};

ErofsWriter *erofs_writer_new(int fd)
{
    ErofsWriter *writer = g_new0(ErofsWriter, 1);

    writer->fd = fd;
    writer->meta = g_byte_array_new();
    writer->meta_size = FIRST_META_EXTENT;
    writer->end = FIRST_META_EXTENT;
    g_byte_array_set_size(writer->meta, BLOCK);
    memset(writer->meta->data, 0, writer->meta->len);
    return writer;
}

void erofs_writer_free(ErofsWriter *writer)
{
    if (writer == NULL)
        return;
    g_byte_array_unref(writer->meta);
    g_free(writer);
}

static gboolean write_at(const ErofsWriter *writer, guint64 offset, const void *data, gsize length,
                         GError **error)
{
    const guint8 *next = data;

    while (length > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(pwrite(writer->fd, next, length, (off_t)offset));

        if (written < 0)
            return fail_errno(error, errno, "cannot write the image file");
        next += written;
        offset += (guint64)written;
        length -= (gsize)written;
    }
    return TRUE;
}

/* Inodes */

static gboolean flush_meta(ErofsWriter *writer, GError **error)
{
    if (!write_at(writer, writer->meta_start, writer->meta->data, writer->meta->len, error))
        return FALSE;
    g_byte_array_set_size(writer->meta, 0);
    return TRUE;
}

/* The open extent is full: it goes out, and one that has room for length bytes begins behind all data. */
static gboolean next_meta_extent(ErofsWriter *writer, gsize length, GError **error)
{
    if (!flush_meta(writer, error))
        return FALSE;
    writer->meta_start = writer->end;
    writer->meta_size = MIN(writer->meta_size * 2, MAX_META_EXTENT);
    writer->meta_size = MAX(writer->meta_size, erofs_round_up(length, BLOCK));
    writer->end += writer->meta_size;
    return TRUE;
}

/* Room for an inode, its attributes and what is inline: zeroed, at a 32-byte boundary. The inode itself, and
 * all of it when something is inline, lies in one block. */
static gboolean allocate_inode(ErofsWriter *writer, gsize xattrs, gsize inline_bytes, guint64 *ret_nid,
                               GError **error)
{
    gsize length = sizeof(ErofsInode) + xattrs + inline_bytes;
    gsize unbroken = inline_bytes > 0 ? length : sizeof(ErofsInode);
    gsize at = erofs_round_up(writer->meta->len, EROFS_NID_BYTES);

    if (at % BLOCK + unbroken > BLOCK)
        at = erofs_round_up(at, BLOCK);
    if (at + length > writer->meta_size) {
        if (!next_meta_extent(writer, length, error))
            return FALSE;
        at = 0;
    }
    gsize old_length = writer->meta->len;

    g_byte_array_set_size(writer->meta, (guint)(at + length));
    memset(writer->meta->data + old_length, 0, at + length - old_length);
    *ret_nid = (writer->meta_start + at) / EROFS_NID_BYTES;
    writer->inodes++;
    return TRUE;
}

static gboolean fits_inline(const ErofsAttributes *attributes, guint64 tail_bytes)
{
    return tail_bytes > 0 && sizeof(ErofsInode) + erofs_xattr_bytes(attributes) + tail_bytes <= BLOCK;
}

static guint32 encode_rdev(guint32 major, guint32 minor)
{
    return (minor & 0xff) | (major << 8) | ((minor & ~0xffU) << 12);
}

/* Where the content of an inode is. */
typedef struct {
    guint64 size;
    guint64 data_offset; /* of the whole blocks */
    const void *inline_data;
    gsize inline_bytes;
} InodeContent;

/* Inode, attributes and inline bytes as they lie on the disk. */
static GByteArray *encode_inode(guint64 nid, const ErofsAttributes *attributes, const InodeContent *content,
                                guint32 links)
{
    guint8 header[EROFS_XATTR_HEADER_BYTES] = {0};
    GByteArray *bytes = g_byte_array_new();
    gboolean is_device = S_ISCHR(attributes->mode) || S_ISBLK(attributes->mode);
    ErofsInode inode = {
        .format = GUINT16_TO_LE(content->inline_bytes > 0 ? EROFS_LAYOUT_INLINE : EROFS_LAYOUT_PLAIN),
        .mode = GUINT16_TO_LE((guint16)attributes->mode),
        .size = GUINT64_TO_LE(content->size),
        .block_or_rdev = GUINT32_TO_LE(is_device ? encode_rdev(attributes->rdev_major, attributes->rdev_minor)
                                                 : (guint32)(content->data_offset >> EROFS_BLOCK_BITS)),
        .number = GUINT32_TO_LE((guint32)nid),
        .uid = GUINT32_TO_LE(attributes->uid),
        .gid = GUINT32_TO_LE(attributes->gid),
        .mtime_s = GUINT64_TO_LE((guint64)attributes->mtime_s),
        .mtime_ns = GUINT32_TO_LE(attributes->mtime_ns),
        .links = GUINT32_TO_LE(links),
    };

    if (attributes->xattrs != NULL)
        inode.xattr_count = GUINT16_TO_LE((guint16)(1 + attributes->xattrs->len / 4));
    g_byte_array_append(bytes, (const guint8 *)&inode, sizeof inode);
    if (attributes->xattrs != NULL) {
        g_byte_array_append(bytes, header, sizeof header);
        g_byte_array_append(bytes, attributes->xattrs->data, attributes->xattrs->len);
    }
    if (content->inline_bytes > 0)
        g_byte_array_append(bytes, content->inline_data, (guint)content->inline_bytes);
    return bytes;
}

/* Adds an inode of which all is known. */
static gboolean put_inode(ErofsWriter *writer, const ErofsAttributes *attributes, const InodeContent *content,
                          guint64 *ret_nid, GError **error)
{
    g_autoptr(GByteArray) bytes = NULL;
    guint64 nid;

    if (!allocate_inode(writer, erofs_xattr_bytes(attributes), content->inline_bytes, &nid, error))
        return FALSE;
    bytes = encode_inode(nid, attributes, content, 1);
    memcpy(writer->meta->data + (nid * EROFS_NID_BYTES - writer->meta_start), bytes->data, bytes->len);
    *ret_nid = nid;
    return TRUE;
}

/* Overwrites bytes in the open extent, or on the disk when they have gone there. */
static gboolean patch_bytes(ErofsWriter *writer, guint64 offset, const void *data, gsize length,
                            GError **error)
{
    if (offset < writer->meta_start || offset >= writer->meta_start + writer->meta->len)
        return write_at(writer, offset, data, length, error);
    memcpy(writer->meta->data + (offset - writer->meta_start), data, length);
    return TRUE;
}

/* Files */

/* Space for whole blocks; refuses what block numbers cannot reach. */
static gboolean allocate_data(ErofsWriter *writer, guint64 length, guint64 *ret_offset, GError **error)
{
    guint64 limit = (guint64)G_MAXUINT32 << EROFS_BLOCK_BITS;

    if (length > limit || writer->end + length > limit)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the layer is larger than 16 TiB");
    *ret_offset = writer->end;
    writer->end += erofs_round_up(length, BLOCK);
    return TRUE;
}

gboolean erofs_writer_begin_file(ErofsWriter *writer, const ErofsAttributes *attributes, guint64 size,
                                 GError **error)
{
    gboolean is_inline = fits_inline(attributes, size % BLOCK);
    guint64 in_blocks = is_inline ? size - size % BLOCK : size;

    if (!allocate_data(writer, in_blocks, &writer->file_start, error))
        return FALSE;
    writer->file = *attributes;
    writer->file_size = size;
    writer->file_inline = is_inline;
    if (is_inline)
        memset(writer->tail, 0, size % BLOCK);
    return TRUE;
}

gboolean erofs_writer_file_data(ErofsWriter *writer, guint64 offset, const void *data, gsize length,
                                GError **error)
{
    guint64 tail_start =
        writer->file_inline ? writer->file_size - writer->file_size % BLOCK : writer->file_size;

    if (offset > writer->file_size || length > writer->file_size - offset)
        return fail(error, STATUS_INVALID_ARGUMENT, "more data than its size");
    if (offset < tail_start) {
        gsize in_blocks = (gsize)MIN((guint64)length, tail_start - offset);

        if (!write_at(writer, writer->file_start + offset, data, in_blocks, error))
            return FALSE;
        offset += in_blocks;
        data = (const guint8 *)data + in_blocks;
        length -= in_blocks;
    }
    if (length > 0)
        memcpy(writer->tail + (offset - tail_start), data, length);
    return TRUE;
}

gboolean erofs_writer_end_file(ErofsWriter *writer, guint64 *ret_nid, GError **error)
{
    InodeContent content = {.size = writer->file_size,
                            .data_offset = writer->file_start,
                            .inline_data = writer->tail,
                            .inline_bytes = writer->file_inline ? writer->file_size % BLOCK : 0};

    return put_inode(writer, &writer->file, &content, ret_nid, error);
}

gboolean erofs_writer_special(ErofsWriter *writer, const ErofsAttributes *attributes, const char *target,
                              guint64 *ret_nid, GError **error)
{
    gsize length = target != NULL ? strlen(target) : 0;
    InodeContent content = {.size = length};

    if (length == 0 || fits_inline(attributes, length)) {
        content.inline_data = target;
        content.inline_bytes = length;
        return put_inode(writer, attributes, &content, ret_nid, error);
    }
    if (!allocate_data(writer, length, &content.data_offset, error) ||
        !write_at(writer, content.data_offset, target, length, error))
        return FALSE;
    return put_inode(writer, attributes, &content, ret_nid, error);
}

gboolean erofs_writer_set_links(ErofsWriter *writer, guint64 nid, guint32 links, GError **error)
{
    guint32 value = GUINT32_TO_LE(links);

    return patch_bytes(writer, nid * EROFS_NID_BYTES + G_STRUCT_OFFSET(ErofsInode, links), &value,
                       sizeof value, error);
}

/* Directories */

gboolean erofs_writer_reserve_directory(ErofsWriter *writer, const ErofsAttributes *attributes,
                                        const GArray *names, ErofsDirectory *ret_place, GError **error)
{
    ErofsDirectory place = {.size = erofs_directory_size(names), .nid = ROOT_OFFSET / EROFS_NID_BYTES};
    gboolean is_root = !writer->has_root;

    if (is_root && sizeof(ErofsInode) + erofs_xattr_bytes(attributes) > ROOT_MAX_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "/ has too large extended attributes");
    if (!is_root && fits_inline(attributes, place.size % BLOCK))
        place.inline_bytes = place.size % BLOCK;
    if (!allocate_data(writer, place.size - place.inline_bytes, &place.data_offset, error))
        return FALSE;
    if (!is_root &&
        !allocate_inode(writer, erofs_xattr_bytes(attributes), place.inline_bytes, &place.nid, error))
        return FALSE;
    writer->has_root = TRUE;
    *ret_place = place;
    return TRUE;
}

gboolean erofs_writer_directory(ErofsWriter *writer, const ErofsDirectory *place,
                                const ErofsAttributes *attributes, const GArray *names, guint32 links,
                                GError **error)
{
    gsize in_blocks = place->size - place->inline_bytes;
    g_autofree guint8 *data = g_malloc0(erofs_round_up(place->size, BLOCK));
    InodeContent content = {
        .size = place->size, .data_offset = place->data_offset, .inline_bytes = place->inline_bytes};
    g_autoptr(GByteArray) inode = NULL;

    erofs_directory_encode(names, data);
    content.inline_data = data + in_blocks;
    inode = encode_inode(place->nid, attributes, &content, links);
    return write_at(writer, place->data_offset, data, in_blocks, error) &&
           patch_bytes(writer, place->nid * EROFS_NID_BYTES, inode->data, inode->len, error);
}

void erofs_writer_identify(ErofsWriter *writer, const char *text)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    guint8 digest[32];
    gsize length = sizeof digest;

    g_checksum_update(checksum, (const guchar *)text, -1);
    g_checksum_get_digest(checksum, digest, &length);
    memcpy(writer->uuid, digest, sizeof writer->uuid);
    writer->uuid[6] = (writer->uuid[6] & 0x0f) | 0x80; /* version 8 of RFC 9562: made in a way of its own */
    writer->uuid[8] = (writer->uuid[8] & 0x3f) | 0x80;
}

gboolean erofs_writer_finish(ErofsWriter *writer, GError **error)
{
    ErofsSuperBlock super = {
        .magic = GUINT32_TO_LE(EROFS_MAGIC),
        .feature_compat = GUINT32_TO_LE(EROFS_COMPAT_MTIME),
        .block_size_bits = EROFS_BLOCK_BITS,
        .root_nid = GUINT16_TO_LE(ROOT_OFFSET / EROFS_NID_BYTES),
        .inode_count = GUINT64_TO_LE(writer->inodes + 1),
    };

    memcpy(super.uuid, writer->uuid, sizeof super.uuid);
    /* The last extent of inodes gives back what it does not need. */
    if (writer->meta_start + writer->meta_size == writer->end)
        writer->end = writer->meta_start + erofs_round_up(writer->meta->len, BLOCK);
    super.blocks = GUINT32_TO_LE((guint32)(writer->end >> EROFS_BLOCK_BITS));
    if (!patch_bytes(writer, EROFS_SUPER_OFFSET, &super, sizeof super, error) || !flush_meta(writer, error))
        return FALSE;
    /* The last block is whole, and what was never written is a hole. */
    if (ftruncate(writer->fd, (off_t)writer->end) != 0)
        return fail_errno(error, errno, "cannot write the image file");
    return TRUE;
}
