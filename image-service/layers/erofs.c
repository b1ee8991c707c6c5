/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/erofs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

/* The structures of the format; all numbers little-endian. */
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
} SuperBlock;
G_STATIC_ASSERT(sizeof(SuperBlock) == 128);

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
} Inode;
G_STATIC_ASSERT(sizeof(Inode) == 64);

typedef struct {
    guint64 nid;
    guint16 name_offset;
    guint8 type;
    guint8 reserved;
} __attribute__((packed)) Dirent;
G_STATIC_ASSERT(sizeof(Dirent) == 12);

typedef struct {
    guint8 name_length;
    guint8 name_index;
    guint16 value_length;
} XattrEntry;
G_STATIC_ASSERT(sizeof(XattrEntry) == 4);

enum {
    MAGIC = 0xE0F5E1E2,
    SUPER_OFFSET = 1024,
    BLOCK = EROFS_BLOCK_BYTES,
    BLOCK_BITS = 12,
    NID_BYTES = 32,
    COMPAT_MTIME = 0x2,
    EXTENDED = 1,
    LAYOUT_PLAIN = EXTENDED | (0 << 1),
    LAYOUT_INLINE = EXTENDED | (2 << 1),
    XATTR_HEADER_BYTES = 12,
    /* The super block has 16 bits for the root's number, so its inode has the rest of the first block. */
    ROOT_OFFSET = SUPER_OFFSET + sizeof(SuperBlock),
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

static guint64 round_up(guint64 value, guint64 unit)
{
    return (value + unit - 1) / unit * unit;
}

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

/* Extended attributes */

static const struct {
    const char *prefix;
    guint8 index;
    gboolean whole; /* the prefix is the whole name */
} xattr_prefixes[] = {
    {"user.", 1, FALSE},
    {"system.posix_acl_access", 2, TRUE},
    {"system.posix_acl_default", 3, TRUE},
    {"trusted.", 4, FALSE},
    {"security.", 6, FALSE},
};

static gboolean xattr_split(const char *name, guint8 *ret_index, const char **ret_suffix)
{
    for (gsize i = 0; i < G_N_ELEMENTS(xattr_prefixes); i++) {
        const char *prefix = xattr_prefixes[i].prefix;

        if (!g_str_has_prefix(name, prefix) || xattr_prefixes[i].whole != (name[strlen(prefix)] == '\0'))
            continue;
        *ret_index = xattr_prefixes[i].index;
        *ret_suffix = name + strlen(prefix);
        return TRUE;
    }
    return FALSE;
}

gboolean erofs_xattr_add(GByteArray **xattrs, const char *name, const void *value, gsize length,
                         GError **error)
{
    XattrEntry entry = {0};
    const char *suffix;
    gsize padded;
    gsize old_length = *xattrs != NULL ? (*xattrs)->len : 0;

    if (!xattr_split(name, &entry.name_index, &suffix))
        return fail(error, STATUS_INVALID_ARGUMENT, "extended attribute \"%s\" is of no known kind", name);
    padded = round_up(sizeof entry + strlen(suffix) + length, 4);
    if (strlen(suffix) > G_MAXUINT8 || length > G_MAXUINT16 || old_length + padded > EROFS_MAX_XATTR_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "extended attribute \"%.100s\" is too large", name);

    if (*xattrs == NULL)
        *xattrs = g_byte_array_new();
    entry.name_length = (guint8)strlen(suffix);
    entry.value_length = GUINT16_TO_LE((guint16)length);
    g_byte_array_append(*xattrs, (const guint8 *)&entry, sizeof entry);
    g_byte_array_append(*xattrs, (const guint8 *)suffix, (guint)strlen(suffix));
    g_byte_array_append(*xattrs, value, (guint)length);
    while ((*xattrs)->len < old_length + padded)
        g_byte_array_append(*xattrs, (const guint8 *)"", 1);
    return TRUE;
}

static gsize xattr_bytes(const ErofsAttributes *attributes)
{
    return attributes->xattrs != NULL ? XATTR_HEADER_BYTES + attributes->xattrs->len : 0;
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
    writer->meta_size = MAX(writer->meta_size, round_up(length, BLOCK));
    writer->end += writer->meta_size;
    return TRUE;
}

/* Room for an inode, its attributes and what is inline: zeroed, at a 32-byte boundary. The inode itself, and
 * all of it when something is inline, lies in one block. */
static gboolean allocate_inode(ErofsWriter *writer, gsize xattrs, gsize inline_bytes, guint64 *ret_nid,
                               GError **error)
{
    gsize length = sizeof(Inode) + xattrs + inline_bytes;
    gsize unbroken = inline_bytes > 0 ? length : sizeof(Inode);
    gsize at = round_up(writer->meta->len, NID_BYTES);

    if (at % BLOCK + unbroken > BLOCK)
        at = round_up(at, BLOCK);
    if (at + length > writer->meta_size) {
        if (!next_meta_extent(writer, length, error))
            return FALSE;
        at = 0;
    }
    gsize old_length = writer->meta->len;

    g_byte_array_set_size(writer->meta, (guint)(at + length));
    memset(writer->meta->data + old_length, 0, at + length - old_length);
    *ret_nid = (writer->meta_start + at) / NID_BYTES;
    writer->inodes++;
    return TRUE;
}

static gboolean fits_inline(const ErofsAttributes *attributes, guint64 tail_bytes)
{
    return tail_bytes > 0 && sizeof(Inode) + xattr_bytes(attributes) + tail_bytes <= BLOCK;
}

static guint32 encode_rdev(guint32 major, guint32 minor)
{
    return (minor & 0xff) | (major << 8) | ((minor & ~0xffU) << 12);
}

/* Inode, attributes and inline bytes as they lie on the disk. */
static GByteArray *encode_inode(guint64 nid, const ErofsAttributes *attributes, guint64 size,
                                guint64 data_offset, guint32 links, const void *inline_data,
                                gsize inline_bytes)
{
    guint8 header[XATTR_HEADER_BYTES] = {0};
    GByteArray *bytes = g_byte_array_new();
    gboolean is_device = S_ISCHR(attributes->mode) || S_ISBLK(attributes->mode);
    Inode inode = {
        .format = GUINT16_TO_LE(inline_bytes > 0 ? LAYOUT_INLINE : LAYOUT_PLAIN),
        .mode = GUINT16_TO_LE((guint16)attributes->mode),
        .size = GUINT64_TO_LE(size),
        .block_or_rdev = GUINT32_TO_LE(is_device ? encode_rdev(attributes->rdev_major, attributes->rdev_minor)
                                                 : (guint32)(data_offset >> BLOCK_BITS)),
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
    if (inline_bytes > 0)
        g_byte_array_append(bytes, inline_data, (guint)inline_bytes);
    return bytes;
}

/* An inode that is known whole. */
static gboolean put_inode(ErofsWriter *writer, const ErofsAttributes *attributes, guint64 size,
                          guint64 data_offset, const void *inline_data, gsize inline_bytes, guint64 *ret_nid,
                          GError **error)
{
    g_autoptr(GByteArray) bytes = NULL;
    guint64 nid;

    if (!allocate_inode(writer, xattr_bytes(attributes), inline_bytes, &nid, error))
        return FALSE;
    bytes = encode_inode(nid, attributes, size, data_offset, 1, inline_data, inline_bytes);
    memcpy(writer->meta->data + (nid * NID_BYTES - writer->meta_start), bytes->data, bytes->len);
    *ret_nid = nid;
    return TRUE;
}

/* Into the open extent, or to the disk when it has gone there. */
static gboolean patch(ErofsWriter *writer, guint64 offset, const void *data, gsize length, GError **error)
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
    guint64 limit = (guint64)G_MAXUINT32 << BLOCK_BITS;

    if (length > limit || writer->end + length > limit)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the layer is larger than 16 TiB");
    *ret_offset = writer->end;
    writer->end += round_up(length, BLOCK);
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
    return put_inode(writer, &writer->file, writer->file_size, writer->file_start, writer->tail,
                     writer->file_inline ? writer->file_size % BLOCK : 0, ret_nid, error);
}

gboolean erofs_writer_special(ErofsWriter *writer, const ErofsAttributes *attributes, const char *target,
                              guint64 *ret_nid, GError **error)
{
    gsize length = target != NULL ? strlen(target) : 0;
    guint64 offset = 0;

    if (length == 0 || fits_inline(attributes, length))
        return put_inode(writer, attributes, length, 0, target, length, ret_nid, error);
    if (!allocate_data(writer, length, &offset, error) || !write_at(writer, offset, target, length, error))
        return FALSE;
    return put_inode(writer, attributes, length, offset, NULL, 0, ret_nid, error);
}

gboolean erofs_writer_set_links(ErofsWriter *writer, guint64 nid, guint32 links, GError **error)
{
    guint32 value = GUINT32_TO_LE(links);

    return patch(writer, nid * NID_BYTES + G_STRUCT_OFFSET(Inode, links), &value, sizeof value, error);
}

/* Directories */

int erofs_dirent_compare(gconstpointer a, gconstpointer b)
{
    return strcmp(((const ErofsDirent *)a)->name, ((const ErofsDirent *)b)->name);
}

static guint8 dirent_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return 1;
    case S_IFDIR:
        return 2;
    case S_IFCHR:
        return 3;
    case S_IFBLK:
        return 4;
    case S_IFIFO:
        return 5;
    case S_IFSOCK:
        return 6;
    case S_IFLNK:
        return 7;
    default:
        return 0;
    }
}

/* How many names from first on share a block, and the bytes that they take in it. */
static guint dirents_in_block(const GArray *names, guint first, gsize *ret_bytes)
{
    gsize bytes = 0;
    guint count = 0;

    for (guint i = first; i < names->len; i++) {
        gsize needed = sizeof(Dirent) + strlen(g_array_index(names, ErofsDirent, i).name);

        if (bytes + needed > BLOCK)
            break;
        bytes += needed;
        count++;
    }
    *ret_bytes = bytes;
    return count;
}

static guint64 directory_size(const GArray *names)
{
    guint64 size = 0;

    for (guint first = 0; first < names->len;) {
        gsize bytes;

        first += dirents_in_block(names, first, &bytes);
        size += first < names->len ? BLOCK : bytes;
    }
    return size;
}

/* The table of entries, then the names, each block by itself. */
static void encode_directory(const GArray *names, guint8 *data)
{
    for (guint first = 0; first < names->len; data += BLOCK) {
        gsize bytes;
        guint count = dirents_in_block(names, first, &bytes);
        gsize name_offset = count * sizeof(Dirent);

        for (guint i = 0; i < count; i++) {
            const ErofsDirent *entry = &g_array_index(names, ErofsDirent, first + i);
            Dirent dirent = {
                .nid = GUINT64_TO_LE(entry->nid),
                .name_offset = GUINT16_TO_LE((guint16)name_offset),
                .type = dirent_type(entry->mode),
            };

            memcpy(data + i * sizeof dirent, &dirent, sizeof dirent);
            memcpy(data + name_offset, entry->name, strlen(entry->name));
            name_offset += strlen(entry->name);
        }
        first += count;
    }
}

gboolean erofs_writer_reserve_directory(ErofsWriter *writer, const ErofsAttributes *attributes,
                                        const GArray *names, ErofsDirectory *ret_place, GError **error)
{
    ErofsDirectory place = {.size = directory_size(names), .nid = ROOT_OFFSET / NID_BYTES};
    gboolean is_root = !writer->has_root;

    if (is_root && sizeof(Inode) + xattr_bytes(attributes) > ROOT_MAX_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "/ has too large extended attributes");
    if (!is_root && fits_inline(attributes, place.size % BLOCK))
        place.inline_bytes = place.size % BLOCK;
    if (!allocate_data(writer, place.size - place.inline_bytes, &place.data_offset, error))
        return FALSE;
    if (!is_root && !allocate_inode(writer, xattr_bytes(attributes), place.inline_bytes, &place.nid, error))
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
    g_autofree guint8 *data = g_malloc0(round_up(place->size, BLOCK));
    g_autoptr(GByteArray) inode = NULL;

    encode_directory(names, data);
    inode = encode_inode(place->nid, attributes, place->size, place->data_offset, links, data + in_blocks,
                         place->inline_bytes);
    return write_at(writer, place->data_offset, data, in_blocks, error) &&
           patch(writer, place->nid * NID_BYTES, inode->data, inode->len, error);
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
    SuperBlock super = {
        .magic = GUINT32_TO_LE(MAGIC),
        .feature_compat = GUINT32_TO_LE(COMPAT_MTIME),
        .block_size_bits = BLOCK_BITS,
        .root_nid = GUINT16_TO_LE(ROOT_OFFSET / NID_BYTES),
        .inode_count = GUINT64_TO_LE(writer->inodes + 1),
    };

    memcpy(super.uuid, writer->uuid, sizeof super.uuid);
    /* What the last extent of inodes does not need is given back. */
    if (writer->meta_start + writer->meta_size == writer->end)
        writer->end = writer->meta_start + round_up(writer->meta->len, BLOCK);
    super.blocks = GUINT32_TO_LE((guint32)(writer->end >> BLOCK_BITS));
    if (!patch(writer, SUPER_OFFSET, &super, sizeof super, error) || !flush_meta(writer, error))
        return FALSE;
    /* The last block is whole, and what was never written is a hole. */
    if (ftruncate(writer->fd, (off_t)writer->end) != 0)
        return fail_errno(error, errno, "cannot write the image file");
    return TRUE;
}
