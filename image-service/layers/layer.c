/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/log.h"
#include "image-service/content/manifest.h"
#include "image-service/layers/blob_stream.h"
#include "image-service/layers/layer_tree.h"

enum { DEFAULT_MAX_ENTRIES = 2000000, PROGRESS_STEP_BYTES = 1 << 20 };

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_META_PREFIX ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

typedef struct {
    const LayerSpec *spec;
    const Deadline *deadline;
    LayerProgressFunc progress;
    gpointer progress_data;
    guint64 reported;
    BlobStream *stream;
    GError *stream_error; /* libarchive has no room for ours */
    struct archive *tar;
    LayerTree *tree;
    ErofsWriter *writer;
    guint64 bytes; /* of all files so far */
} Unpacking;

/* The decompressed bytes */

static gboolean stream_next(Unpacking *unpacking, const guint8 **ret_data, gsize *ret_length, GError **error)
{
    guint64 consumed;

    if (!deadline_check(unpacking->deadline, "unpacking a layer", error) ||
        !blob_stream_read(unpacking->stream, ret_data, ret_length, error))
        return FALSE;
    consumed = blob_stream_consumed(unpacking->stream);
    if (unpacking->progress != NULL &&
        (consumed - unpacking->reported >= PROGRESS_STEP_BYTES || *ret_length == 0)) {
        unpacking->reported = consumed;
        unpacking->progress(consumed, unpacking->progress_data);
    }
    return TRUE;
}

static la_ssize_t tar_read(struct archive *tar, void *data, const void **ret_buffer)
{
    Unpacking *unpacking = data;
    const guint8 *bytes;
    gsize length;

    if (unpacking->stream_error != NULL)
        return -1;
    if (!stream_next(unpacking, &bytes, &length, &unpacking->stream_error)) {
        archive_set_error(tar, -1, "the stream failed");
        return -1;
    }
    *ret_buffer = bytes;
    return (la_ssize_t)length;
}

/* libarchive failed, or the stream below it did. */
static gboolean tar_fail(Unpacking *unpacking, GError **error)
{
    const char *message = archive_error_string(unpacking->tar);

    if (unpacking->stream_error != NULL) {
        g_propagate_error(error, g_steal_pointer(&unpacking->stream_error));
        return FALSE;
    }
    return fail(error, STATUS_INVALID_ARGUMENT, "bad tar: %s", message != NULL ? message : "unreadable");
}

/* Entries */

static gboolean is_wanted_xattr(const char *name)
{
    return g_str_equal(name, "security.capability") || g_str_has_prefix(name, "user.") ||
           g_str_equal(name, "system.posix_acl_access") || g_str_equal(name, "system.posix_acl_default");
}

static gboolean read_xattrs(struct archive_entry *entry, GByteArray **ret_xattrs, GError **error)
{
    g_autoptr(GByteArray) xattrs = NULL;
    const char *name;
    const void *value;
    size_t length;

    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &length) == ARCHIVE_OK)
        if (name != NULL && is_wanted_xattr(name) && !erofs_xattr_add(&xattrs, name, value, length, error))
            return FALSE;
    *ret_xattrs = g_steal_pointer(&xattrs);
    return TRUE;
}

static gboolean read_attributes(struct archive_entry *entry, ErofsAttributes *ret_attributes, GError **error)
{
    ErofsAttributes attributes = {
        .mode = archive_entry_mode(entry),
        .mtime_s = archive_entry_mtime(entry),
        .mtime_ns = (guint32)archive_entry_mtime_nsec(entry),
        .rdev_major = (guint32)archive_entry_rdevmajor(entry),
        .rdev_minor = (guint32)archive_entry_rdevminor(entry),
    };
    gint64 uid = archive_entry_uid(entry);
    gint64 gid = archive_entry_gid(entry);

    /* The last one is "no id" to the kernel. */
    if (uid < 0 || uid >= G_MAXUINT32 || gid < 0 || gid >= G_MAXUINT32)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "its owner %" G_GINT64_FORMAT ":%" G_GINT64_FORMAT " is out of range", uid, gid);
    if (attributes.mtime_ns >= 1000000000)
        return fail(error, STATUS_INVALID_ARGUMENT, "its time is invalid");
    if (!read_xattrs(entry, &attributes.xattrs, error))
        return FALSE;
    attributes.uid = (guint32)uid;
    attributes.gid = (guint32)gid;
    *ret_attributes = attributes;
    return TRUE;
}

static gboolean copy_data(Unpacking *unpacking, guint64 size, GError **error)
{
    const void *data;
    size_t length;
    la_int64_t offset;
    int result;

    while ((result = archive_read_data_block(unpacking->tar, &data, &length, &offset)) == ARCHIVE_OK) {
        /* The end of a sparse file is told as an empty block there. */
        if (length > 0 && (offset < 0 || (guint64)offset > size))
            return fail(error, STATUS_INVALID_ARGUMENT, "it has data beyond its end");
        if (length > 0 && !erofs_writer_file_data(unpacking->writer, (guint64)offset, data, length, error))
            return FALSE;
    }
    return result == ARCHIVE_EOF || tar_fail(unpacking, error);
}

static gboolean add_file(Unpacking *unpacking, struct archive_entry *entry, const ErofsAttributes *attributes,
                         LayerNode *parent, const char *name, GError **error)
{
    gint64 size = archive_entry_size(entry);
    guint64 nid;

    if (size < 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "its size is negative");
    if ((guint64)size > unpacking->spec->max_bytes - unpacking->bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the layer is larger than %" G_GUINT64_FORMAT " bytes unpacked",
                    unpacking->spec->max_bytes);
    unpacking->bytes += (guint64)size;
    return erofs_writer_begin_file(unpacking->writer, attributes, (guint64)size, error) &&
           copy_data(unpacking, (guint64)size, error) &&
           erofs_writer_end_file(unpacking->writer, &nid, error) &&
           layer_tree_put_inode(unpacking->tree, parent, name, nid, attributes->mode, error);
}

static gboolean add_special(Unpacking *unpacking, const ErofsAttributes *attributes, const char *target,
                            LayerNode *parent, const char *name, GError **error)
{
    guint64 nid;

    if (S_ISCHR(attributes->mode) && attributes->rdev_major == 0 && attributes->rdev_minor == 0)
        return layer_tree_whiteout(unpacking->tree, parent, name, error);
    if (S_ISLNK(attributes->mode) && (target == NULL || target[0] == '\0' || strlen(target) >= 4096))
        return fail(error, STATUS_INVALID_ARGUMENT, "its target is empty, unreadable or too long");
    return erofs_writer_special(unpacking->writer, attributes, S_ISLNK(attributes->mode) ? target : NULL,
                                &nid, error) &&
           layer_tree_put_inode(unpacking->tree, parent, name, nid, attributes->mode, error);
}

static gboolean add_link(Unpacking *unpacking, const char *target, LayerNode *parent, const char *name,
                         GError **error)
{
    g_auto(GStrv) parts = NULL;

    if (!layer_path_split(target, &parts, error)) {
        g_prefix_error(error, "the file it links to: ");
        return FALSE;
    }
    return layer_tree_link(unpacking->tree, parent, name, parts, error);
}

/* ".wh.NAME" and its relatives; *ret_done when the entry was one. */
static gboolean apply_whiteout(Unpacking *unpacking, LayerNode *parent, const char *name, gboolean *ret_done,
                               GError **error)
{
    const char *hidden = name + strlen(WHITEOUT_PREFIX);

    *ret_done = g_str_has_prefix(name, WHITEOUT_PREFIX);
    if (!*ret_done)
        return TRUE;
    if (g_str_equal(name, WHITEOUT_OPAQUE)) {
        layer_tree_set_opaque(parent);
        return TRUE;
    }
    /* AUFS's own files, which mean nothing here. */
    if (g_str_has_prefix(name, WHITEOUT_META_PREFIX))
        return TRUE;
    if (hidden[0] == '\0' || g_str_equal(hidden, ".") || g_str_equal(hidden, ".."))
        return fail(error, STATUS_INVALID_ARGUMENT, "it is a whiteout of nothing");
    return layer_tree_whiteout(unpacking->tree, parent, hidden, error);
}

static gboolean add_directory(Unpacking *unpacking, ErofsAttributes *attributes, LayerNode *parent,
                              const char *name, GError **error)
{
    if (parent == NULL)
        layer_tree_set_root(unpacking->tree, attributes);
    else if (!layer_tree_put_directory(unpacking->tree, parent, name, attributes, error))
        return FALSE;
    attributes->xattrs = NULL; /* the tree's now */
    return TRUE;
}

static gboolean add_inode(Unpacking *unpacking, struct archive_entry *entry, LayerNode *parent,
                          const char *name, GError **error)
{
    ErofsAttributes attributes = {0};
    gboolean added;

    if (!read_attributes(entry, &attributes, error))
        return FALSE;
    switch (attributes.mode & S_IFMT) {
    case S_IFDIR:
        added = add_directory(unpacking, &attributes, parent, name, error);
        break;
    case S_IFREG:
        added = parent != NULL && add_file(unpacking, entry, &attributes, parent, name, error);
        break;
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
        added = parent != NULL &&
                add_special(unpacking, &attributes, archive_entry_symlink(entry), parent, name, error);
        break;
    default:
        added = fail(error, STATUS_INVALID_ARGUMENT, "it is of an unknown type");
    }
    g_clear_pointer(&attributes.xattrs, g_byte_array_unref);
    if (!added && error != NULL && *error == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "it names the layer's root, but is no directory");
    return added;
}

/* A directory that itself is called like a whiteout would be hidden from every other runtime. */
static gboolean check_parents(char **parts, GError **error)
{
    for (; parts[0] != NULL && parts[1] != NULL; parts++)
        if (g_str_has_prefix(parts[0], WHITEOUT_PREFIX))
            return fail(error, STATUS_INVALID_ARGUMENT, "its parent \"%s\" is a whiteout", parts[0]);
    return TRUE;
}

static gboolean add_entry(Unpacking *unpacking, struct archive_entry *entry, const char *path, GError **error)
{
    const char *link_target = archive_entry_hardlink(entry);
    g_auto(GStrv) parts = NULL;
    LayerNode *parent = NULL;
    const char *name = NULL;
    gboolean is_whiteout = FALSE;

    if (!layer_path_split(path, &parts, error) || !check_parents(parts, error))
        return FALSE;
    if (parts[0] != NULL) {
        parent = layer_tree_parent(unpacking->tree, parts, error);
        name = parts[g_strv_length(parts) - 1];
        if (parent == NULL || !apply_whiteout(unpacking, parent, name, &is_whiteout, error))
            return FALSE;
    }
    if (is_whiteout)
        return TRUE;
    if (link_target != NULL && parent != NULL)
        return add_link(unpacking, link_target, parent, name, error);
    return add_inode(unpacking, entry, parent, name, error);
}

static gboolean add_entries(Unpacking *unpacking, GError **error)
{
    struct archive_entry *entry;
    int result;

    while ((result = archive_read_next_header(unpacking->tar, &entry)) != ARCHIVE_EOF) {
        const char *path;

        if (result < ARCHIVE_WARN)
            return tar_fail(unpacking, error);
        path = archive_entry_pathname(entry);
        if (path == NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "an entry of the layer has no readable name");
        if (!add_entry(unpacking, entry, path, error)) {
            g_autofree char *shown = g_strescape(path, NULL);

            g_prefix_error(error, "entry \"%.256s\": ", shown);
            return FALSE;
        }
    }
    return TRUE;
}

/* What follows the tar's end counts for the digest. */
static gboolean check_digest(Unpacking *unpacking, GError **error)
{
    g_autofree char *digest = NULL;
    const guint8 *data;
    gsize length;

    do {
        if (!stream_next(unpacking, &data, &length, error))
            return FALSE;
    } while (length > 0);
    digest = blob_stream_digest(unpacking->stream);
    if (unpacking->spec->diff_id != NULL && !g_str_equal(digest, unpacking->spec->diff_id))
        return fail(error, STATUS_DATA_LOSS, "its content is %s, but the configuration says %s", digest,
                    unpacking->spec->diff_id);
    erofs_writer_identify(unpacking->writer, digest);
    return TRUE;
}

/* The content decides: registries do serve layers under another's media type, and every runtime takes them.
 */
static gboolean check_media_type(const BlobStream *stream, const char *media_type, GError **error)
{
    static const char *const names[] = {
        [LAYER_TAR] = "none", [LAYER_TAR_GZIP] = "gzip", [LAYER_TAR_ZSTD] = "zstd"};
    const char *found = blob_stream_compression(stream);
    LayerFormat format;

    if (media_type == NULL)
        return TRUE;
    if (!media_type_layer(media_type, &format, error))
        return FALSE;
    if (format != LAYER_ANY && !g_str_equal(names[format], found))
        log_debug(LOG_FIELDS("media_type", media_type, "compression", found),
                  "a layer's compression is not what its media type says");
    return TRUE;
}

static gboolean open_tar(Unpacking *unpacking, GError **error)
{
    unpacking->tar = archive_read_new();
    if (unpacking->tar == NULL || archive_read_support_format_tar(unpacking->tar) != ARCHIVE_OK ||
        archive_read_support_format_empty(unpacking->tar) != ARCHIVE_OK)
        return fail(error, STATUS_INTERNAL, "cannot set up libarchive");
    if (archive_read_open(unpacking->tar, unpacking, NULL, tar_read, NULL) != ARCHIVE_OK)
        return tar_fail(unpacking, error);
    return TRUE;
}

static gboolean unpack(Unpacking *unpacking, GError **error)
{
    return check_media_type(unpacking->stream, unpacking->spec->media_type, error) &&
           open_tar(unpacking, error) && add_entries(unpacking, error) && check_digest(unpacking, error) &&
           layer_tree_write(unpacking->tree, unpacking->writer, error) &&
           erofs_writer_finish(unpacking->writer, error);
}

gboolean layer_write_image(int blob_fd, const LayerSpec *spec, int image_fd, const Deadline *deadline,
                           LayerProgressFunc progress, gpointer data, GError **error)
{
    g_autoptr(BlobStream) stream =
        blob_stream_open(blob_fd, spec->max_bytes, spec->diff_id != NULL ? spec->diff_id : "sha256:", error);
    g_autoptr(LayerTree) tree =
        layer_tree_new(spec->max_entries != 0 ? spec->max_entries : DEFAULT_MAX_ENTRIES);
    g_autoptr(ErofsWriter) writer = erofs_writer_new(image_fd);
    Unpacking unpacking = {.spec = spec,
                           .deadline = deadline,
                           .progress = progress,
                           .progress_data = data,
                           .stream = stream,
                           .tree = tree,
                           .writer = writer};
    /* libarchive decodes names by the thread's locale: bytes must come out as they are. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = utf8 != (locale_t)0 ? uselocale(utf8) : (locale_t)0;
    gboolean done = stream != NULL && unpack(&unpacking, error);

    if (unpacking.tar != NULL)
        archive_read_free(unpacking.tar);
    g_clear_error(&unpacking.stream_error);
    if (utf8 != (locale_t)0) {
        uselocale(before);
        freelocale(utf8);
    }
    return done;
}
