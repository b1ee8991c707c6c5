/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/log.h"
#include "image-service/content/media_type.h"
#include "image-service/layers/blob_stream.h"
#include "image-service/layers/layer_names.h"

enum {
    PROGRESS_STEP_BYTES = 1 << 20,
    MAX_TARGET_BYTES = 4096,
    MAX_DEVICE_MAJOR = 0xfff,
    MAX_DEVICE_MINOR = 0xfffff
};

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_META_PREFIX ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

typedef struct {
    const LayerFiles *files;
    const LayerSpec *spec;
    const Deadline *deadline;
    guint64 reported;
    BlobStream *stream;
    GError *stream_error; /* libarchive has no room for ours */
    struct archive *tar;
    ErofsWriter *writer;
    guint64 bytes; /* of all files so far */
    guint max_entries;
    GPtrArray *names; /* LayerName */
} Unpacking;

/* The decompressed bytes */

static gboolean stream_next(Unpacking *unpacking, const guint8 **ret_data, gsize *ret_length, GError **error)
{
    guint64 consumed;

    if (!deadline_check(unpacking->deadline, "unpacking a layer", error) ||
        !blob_stream_read(unpacking->stream, ret_data, ret_length, error))
        return FALSE;
    consumed = blob_stream_consumed(unpacking->stream);
    if (unpacking->files->progress != NULL &&
        (consumed - unpacking->reported >= PROGRESS_STEP_BYTES || *ret_length == 0)) {
        unpacking->reported = consumed;
        unpacking->files->progress(consumed, unpacking->files->progress_data);
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

/* Attributes */

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

static gboolean check_numbers(const ErofsAttributes *attributes, gint64 uid, gint64 gid, GError **error)
{
    /* The last id is "no id" to the kernel. */
    if (uid < 0 || uid >= G_MAXUINT32 || gid < 0 || gid >= G_MAXUINT32)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "its owner %" G_GINT64_FORMAT ":%" G_GINT64_FORMAT
                    " is out of range: ids go from 0 to 4294967294",
                    uid, gid);
    if ((S_ISCHR(attributes->mode) || S_ISBLK(attributes->mode)) &&
        (attributes->rdev_major > MAX_DEVICE_MAJOR || attributes->rdev_minor > MAX_DEVICE_MINOR))
        return fail(error, STATUS_INVALID_ARGUMENT, "its device number %u:%u is out of range",
                    attributes->rdev_major, attributes->rdev_minor);
    if (attributes->mtime_ns >= 1000000000)
        return fail(error, STATUS_INVALID_ARGUMENT, "its time is invalid");
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

    if (!check_numbers(&attributes, uid, gid, error) || !read_xattrs(entry, &attributes.xattrs, error))
        return FALSE;
    attributes.uid = (guint32)uid;
    attributes.gid = (guint32)gid;
    *ret_attributes = attributes;
    return TRUE;
}

/* Contents */

static gboolean copy_data(Unpacking *unpacking, guint64 size, GError **error)
{
    const void *data;
    size_t length;
    la_int64_t offset;
    int result;

    while ((result = archive_read_data_block(unpacking->tar, &data, &length, &offset)) == ARCHIVE_OK) {
        /* libarchive reports the end of a sparse file as an empty block there. */
        if (length > 0 && (offset < 0 || (guint64)offset > size))
            return fail(error, STATUS_INVALID_ARGUMENT, "it has data beyond its end");
        if (length > 0 && !erofs_writer_file_data(unpacking->writer, (guint64)offset, data, length, error))
            return FALSE;
    }
    return result == ARCHIVE_EOF || tar_fail(unpacking, error);
}

static gboolean write_file(Unpacking *unpacking, struct archive_entry *entry, LayerName *name, GError **error)
{
    gint64 size = archive_entry_size(entry);

    if (size < 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "its size is negative");
    if ((guint64)size > unpacking->spec->max_bytes - unpacking->bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the layer is larger than %" G_GUINT64_FORMAT " bytes unpacked",
                    unpacking->spec->max_bytes);
    unpacking->bytes += (guint64)size;
    return erofs_writer_begin_file(unpacking->writer, &name->attributes, (guint64)size, error) &&
           copy_data(unpacking, (guint64)size, error) &&
           erofs_writer_end_file(unpacking->writer, &name->nid, error);
}

static gboolean write_special(Unpacking *unpacking, struct archive_entry *entry, LayerName *name,
                              GError **error)
{
    const ErofsAttributes *attributes = &name->attributes;
    const char *target = archive_entry_symlink(entry);

    if (S_ISCHR(attributes->mode) && attributes->rdev_major == 0 && attributes->rdev_minor == 0) {
        name->kind = LAYER_NAME_WHITEOUT;
        return TRUE;
    }
    if (!S_ISLNK(attributes->mode))
        return erofs_writer_special(unpacking->writer, attributes, NULL, &name->nid, error);
    if (target == NULL || target[0] == '\0' || strlen(target) >= MAX_TARGET_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "its target is empty, unreadable or too long");
    name->link_target = g_strdup(target);
    return erofs_writer_special(unpacking->writer, attributes, target, &name->nid, error);
}

/* Names */

static gboolean is_root(const LayerName *name)
{
    return name->parts[0] == NULL;
}

static gboolean take_inode(Unpacking *unpacking, struct archive_entry *entry, LayerName *name, GError **error)
{
    if (!read_attributes(entry, &name->attributes, error))
        return FALSE;
    name->mode = name->attributes.mode;
    name->kind = LAYER_NAME_INODE;
    if (S_ISDIR(name->mode)) {
        name->kind = LAYER_NAME_DIRECTORY;
        return TRUE;
    }
    if (is_root(name))
        return fail(error, STATUS_INVALID_ARGUMENT, "it names the layer's root, but is no directory");
    switch (name->mode & S_IFMT) {
    case S_IFREG:
        return write_file(unpacking, entry, name, error);
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
        return write_special(unpacking, entry, name, error);
    default:
        return fail(error, STATUS_INVALID_ARGUMENT, "it is of an unknown type");
    }
}

static gboolean take_hard_link(const char *target, LayerName *name, GError **error)
{
    name->kind = LAYER_NAME_HARD_LINK;
    if (layer_path_split(target, &name->hard_link_parts, error))
        return TRUE;
    g_prefix_error(error, "the file that it links to: ");
    return FALSE;
}

/* ".wh.NAME" hides NAME, ".wh..wh..opq" all of its directory; others that begin so are AUFS's own files,
 * which mean nothing here: *ret_is_ignored. */
static gboolean take_whiteout(LayerName *name, gboolean *ret_is_ignored, GError **error)
{
    char **leaf = &name->parts[g_strv_length(name->parts) - 1];
    const char *hidden = *leaf + strlen(WHITEOUT_PREFIX);
    char *copy;

    if (g_str_equal(*leaf, WHITEOUT_OPAQUE)) {
        name->kind = LAYER_NAME_OPAQUE;
        g_clear_pointer(leaf, g_free);
        return TRUE;
    }
    if (g_str_has_prefix(*leaf, WHITEOUT_META_PREFIX)) {
        *ret_is_ignored = TRUE;
        return TRUE;
    }
    if (hidden[0] == '\0' || g_str_equal(hidden, ".") || g_str_equal(hidden, ".."))
        return fail(error, STATUS_INVALID_ARGUMENT, "it is a whiteout of nothing");
    name->kind = LAYER_NAME_WHITEOUT;
    copy = g_strdup(hidden);
    g_free(*leaf);
    *leaf = copy;
    return TRUE;
}

/* A directory that itself is called like a whiteout would be hidden from every other runtime. */
static gboolean check_parents(char **parts, GError **error)
{
    for (; parts[0] != NULL && parts[1] != NULL; parts++)
        if (g_str_has_prefix(parts[0], WHITEOUT_PREFIX))
            return fail(error, STATUS_INVALID_ARGUMENT, "its parent \"%s\" is a whiteout", parts[0]);
    return TRUE;
}

static gboolean is_whiteout_name(const LayerName *name)
{
    guint n = g_strv_length(name->parts);

    return n > 0 && g_str_has_prefix(name->parts[n - 1], WHITEOUT_PREFIX);
}

static gboolean take_entry(Unpacking *unpacking, struct archive_entry *entry, const char *path,
                           GError **error)
{
    const char *link_target = archive_entry_hardlink(entry);
    g_autoptr(LayerName) name = g_new0(LayerName, 1);
    gboolean is_ignored = FALSE;
    gboolean done;

    if (!layer_path_split(path, &name->parts, error) || !check_parents(name->parts, error))
        return FALSE;
    if (unpacking->names->len >= unpacking->max_entries)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the layer has more than %u entries",
                    unpacking->max_entries);
    name->path = g_strdup(path);
    if (is_whiteout_name(name))
        done = take_whiteout(name, &is_ignored, error);
    else if (link_target != NULL && !is_root(name))
        done = take_hard_link(link_target, name, error);
    else
        done = take_inode(unpacking, entry, name, error);
    if (done && !is_ignored)
        g_ptr_array_add(unpacking->names, g_steal_pointer(&name));
    return done;
}

static gboolean take_entries(Unpacking *unpacking, GError **error)
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
        if (!take_entry(unpacking, entry, path, error)) {
            g_autofree char *shown = g_strescape(path, NULL);

            g_prefix_error(error, "entry \"%.256s\": ", shown);
            return FALSE;
        }
    }
    return TRUE;
}

/* The whole */

/* The digest covers what follows the end of the tar as well. */
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
        return fail(error, STATUS_DATA_LOSS, "its content is %s, but the configuration names %s", digest,
                    unpacking->spec->diff_id);
    return TRUE;
}

/* The content decides: registries serve layers under the media type of another compression, and every runtime
 * accepts them. */
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

static gboolean read_tar(Unpacking *unpacking, GError **error)
{
    return check_media_type(unpacking->stream, unpacking->spec->media_type, error) &&
           open_tar(unpacking, error) && take_entries(unpacking, error) && check_digest(unpacking, error);
}

GPtrArray *layer_tar_read(const LayerFiles *files, const LayerSpec *spec, guint max_entries,
                          ErofsWriter *writer, const Deadline *deadline, GError **error)
{
    g_autoptr(BlobStream) stream = blob_stream_open(files->blob_fd, spec->max_bytes,
                                                    spec->diff_id != NULL ? spec->diff_id : "sha256:", error);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func((GDestroyNotify)layer_name_free);
    Unpacking unpacking = {.files = files,
                           .spec = spec,
                           .deadline = deadline,
                           .stream = stream,
                           .writer = writer,
                           .max_entries = max_entries,
                           .names = names};
    /* libarchive decodes names by the thread's locale: bytes must come out as they are. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = utf8 != (locale_t)0 ? uselocale(utf8) : (locale_t)0;
    gboolean done = stream != NULL && read_tar(&unpacking, error);

    if (unpacking.tar != NULL)
        archive_read_free(unpacking.tar);
    g_clear_error(&unpacking.stream_error);
    if (utf8 != (locale_t)0) {
        uselocale(before);
        freelocale(utf8);
    }
    return done ? g_steal_pointer(&names) : NULL;
}
