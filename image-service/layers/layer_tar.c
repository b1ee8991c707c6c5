/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer_tar.h"

#include <locale.h>
#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/log.h"
#include "common/string_table.h"
#include "image-service/content/media_type.h"
#include "image-service/layers/blob_stream.h"
#include "image-service/layers/layer_names.h"
#include "image-service/layers/tar_reader.h"

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
    LayerBudget *budget;
    guint64 reported;
    BlobStream *stream;
    TarReader *tar;
    ErofsWriter *writer;
    guint64 bytes;    /* of all files so far */
    GPtrArray *names; /* LayerName */
} Unpacking;

/* The decompressed bytes */

static gboolean stream_next(gpointer data, const guint8 **ret_data, gsize *ret_length, GError **error)
{
    Unpacking *unpacking = data;
    guint64 consumed;

    if (!layer_budget_check(unpacking->budget, error) ||
        !blob_stream_read(unpacking->stream, ret_data, ret_length, error))
        return FALSE;
    layer_budget_add_content(unpacking->budget, *ret_length);
    consumed = blob_stream_consumed(unpacking->stream);
    if (unpacking->files->progress != NULL &&
        (consumed - unpacking->reported >= PROGRESS_STEP_BYTES || *ret_length == 0)) {
        unpacking->reported = consumed;
        unpacking->files->progress(consumed, unpacking->files->progress_data);
    }
    return TRUE;
}

static gboolean check_budget(gpointer data, GError **error)
{
    const Unpacking *unpacking = data;

    return layer_budget_check(unpacking->budget, error);
}

/* Attributes */

static gboolean is_wanted_xattr(const char *name)
{
    return g_str_equal(name, "security.capability") || g_str_has_prefix(name, "user.") ||
           g_str_equal(name, "system.posix_acl_access") || g_str_equal(name, "system.posix_acl_default");
}

/* An attribute may come twice: some programs write it in two encodings. The last one counts, which libarchive
 * returns first. */
static gboolean read_xattrs(struct archive_entry *entry, GByteArray **ret_xattrs, GError **error)
{
    g_autoptr(GByteArray) xattrs = NULL;
    g_autoptr(GHashTable) seen = NULL;
    const char *name;
    const void *value;
    size_t length;

    if (archive_entry_xattr_reset(entry) > 1)
        seen = string_table_new(g_free, NULL);
    while (archive_entry_xattr_next(entry, &name, &value, &length) == ARCHIVE_OK) {
        if (name == NULL || !is_wanted_xattr(name) ||
            (seen != NULL && !g_hash_table_add(seen, g_strdup(name))))
            continue;
        if (!erofs_xattr_add(&xattrs, name, value, length, error))
            return FALSE;
    }
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
    TarBlock block;
    gboolean ended = FALSE;

    while (TRUE) {
        if (!tar_reader_data(unpacking->tar, &block, &ended, error))
            return FALSE;
        if (ended)
            return TRUE;
        /* libarchive reports the end of a sparse file as an empty block there. */
        if (block.length > 0 && (block.offset < 0 || (guint64)block.offset > size))
            return fail(error, STATUS_INVALID_ARGUMENT, "it has data beyond its end");
        if (block.length > 0 && !erofs_writer_file_data(unpacking->writer, (guint64)block.offset, block.data,
                                                        block.length, error))
            return FALSE;
    }
}

static gboolean write_file(Unpacking *unpacking, struct archive_entry *entry,
                           const ErofsAttributes *attributes, LayerName *name, GError **error)
{
    gint64 size = archive_entry_size(entry);

    if (size < 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "its size is negative");
    if ((guint64)size > unpacking->spec->max_bytes - unpacking->bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the layer is larger than %" G_GUINT64_FORMAT " bytes unpacked (images.max_layer_size)",
                    unpacking->spec->max_bytes);
    unpacking->bytes += (guint64)size;
    return erofs_writer_begin_file(unpacking->writer, attributes, (guint64)size, error) &&
           copy_data(unpacking, (guint64)size, error) &&
           erofs_writer_end_file(unpacking->writer, &name->nid, error);
}

static gboolean write_special(Unpacking *unpacking, struct archive_entry *entry,
                              const ErofsAttributes *attributes, LayerName *name, GError **error)
{
    const char *target = archive_entry_symlink(entry);

    if (S_ISCHR(attributes->mode) && attributes->rdev_major == 0 && attributes->rdev_minor == 0) {
        name->kind = LAYER_NAME_WHITEOUT;
        return TRUE;
    }
    if (!S_ISLNK(attributes->mode))
        return erofs_writer_special(unpacking->writer, attributes, NULL, &name->nid, error);
    if (target == NULL || target[0] == '\0' || strlen(target) >= MAX_TARGET_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "its target is empty, unreadable or too long");
    return layer_name_set_link(name, unpacking->budget, target, error) &&
           erofs_writer_special(unpacking->writer, attributes, target, &name->nid, error);
}

/* Names */

static gboolean is_root(const LayerName *name)
{
    return name->path[0] == '\0';
}

static gboolean write_inode(Unpacking *unpacking, struct archive_entry *entry,
                            const ErofsAttributes *attributes, LayerName *name, GError **error)
{
    name->mode = attributes->mode;
    if (S_ISDIR(attributes->mode)) {
        name->kind = LAYER_NAME_DIRECTORY;
        return layer_name_set_attributes(name, unpacking->budget, attributes, error);
    }
    name->kind = LAYER_NAME_INODE;
    if (is_root(name))
        return fail(error, STATUS_INVALID_ARGUMENT, "it names the layer's root, but is no directory");
    switch (attributes->mode & S_IFMT) {
    case S_IFREG:
        return write_file(unpacking, entry, attributes, name, error);
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
        return write_special(unpacking, entry, attributes, name, error);
    default:
        return fail(error, STATUS_INVALID_ARGUMENT, "it is of an unknown type");
    }
}

static gboolean take_inode(Unpacking *unpacking, struct archive_entry *entry, LayerName *name, GError **error)
{
    ErofsAttributes attributes;
    gboolean done;

    if (!read_attributes(entry, &attributes, error))
        return FALSE;
    done = write_inode(unpacking, entry, &attributes, name, error);
    g_clear_pointer(&attributes.xattrs, g_byte_array_unref);
    return done;
}

static gboolean take_hard_link(Unpacking *unpacking, const char *target, LayerName *name, GError **error)
{
    g_auto(GStrv) parts = NULL;
    g_autofree char *path = NULL;

    name->kind = LAYER_NAME_HARD_LINK;
    if (!layer_path_split(target, &parts, error)) {
        g_prefix_error(error, "the file that it links to: ");
        return FALSE;
    }
    path = g_strjoinv("/", parts);
    return layer_name_set_link(name, unpacking->budget, path, error);
}

/* What a whiteout's name stands for. WHITEOUT_NONE: the name is none. */
typedef enum { WHITEOUT_NONE, WHITEOUT_OF_NAME, WHITEOUT_OF_ALL, WHITEOUT_IGNORED } Whiteout;

/* ".wh.NAME" hides NAME, ".wh..wh..opq" all of its directory; others that begin so are AUFS's own files,
 * which mean nothing here and are ignored. The last part becomes that of what is hidden. */
static gboolean read_whiteout(char **parts, Whiteout *ret_whiteout, GError **error)
{
    guint n = g_strv_length(parts);
    char **leaf = &parts[n > 0 ? n - 1 : 0];
    g_autofree char *hidden = NULL;

    *ret_whiteout = WHITEOUT_NONE;
    if (n == 0 || !g_str_has_prefix(*leaf, WHITEOUT_PREFIX))
        return TRUE;
    if (g_str_equal(*leaf, WHITEOUT_OPAQUE)) {
        *ret_whiteout = WHITEOUT_OF_ALL;
        g_clear_pointer(leaf, g_free);
        return TRUE;
    }
    if (g_str_has_prefix(*leaf, WHITEOUT_META_PREFIX)) {
        *ret_whiteout = WHITEOUT_IGNORED;
        return TRUE;
    }
    hidden = g_strdup(*leaf + strlen(WHITEOUT_PREFIX));
    if (hidden[0] == '\0' || g_str_equal(hidden, ".") || g_str_equal(hidden, ".."))
        return fail(error, STATUS_INVALID_ARGUMENT, "it is a whiteout of nothing");
    *ret_whiteout = WHITEOUT_OF_NAME;
    g_free(*leaf);
    *leaf = g_steal_pointer(&hidden);
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

static gboolean take_name(Unpacking *unpacking, struct archive_entry *entry, char **parts, Whiteout whiteout,
                          GError **error)
{
    const char *link_target = archive_entry_hardlink(entry);
    g_autofree char *path = g_strjoinv("/", parts);
    g_autoptr(LayerName) name = layer_name_new(unpacking->budget, path, error);
    gboolean done = TRUE;

    if (name == NULL)
        return FALSE;
    if (whiteout != WHITEOUT_NONE)
        name->kind = whiteout == WHITEOUT_OF_ALL ? LAYER_NAME_OPAQUE : LAYER_NAME_WHITEOUT;
    else if (link_target != NULL && !is_root(name))
        done = take_hard_link(unpacking, link_target, name, error);
    else
        done = take_inode(unpacking, entry, name, error);
    if (done)
        g_ptr_array_add(unpacking->names, g_steal_pointer(&name));
    return done;
}

static gboolean take_entry(Unpacking *unpacking, struct archive_entry *entry, const char *path,
                           GError **error)
{
    g_auto(GStrv) parts = NULL;
    Whiteout whiteout;

    if (!layer_path_split(path, &parts, error) || !check_parents(parts, error))
        return FALSE;
    if (unpacking->names->len >= unpacking->budget->limits.max_entries)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the layer has more than %u entries",
                    unpacking->budget->limits.max_entries);
    return read_whiteout(parts, &whiteout, error) &&
           (whiteout == WHITEOUT_IGNORED || take_name(unpacking, entry, parts, whiteout, error));
}

static gboolean take_entries(Unpacking *unpacking, GError **error)
{
    while (TRUE) {
        struct archive_entry *entry = NULL;
        const char *path;

        if (!tar_reader_next(unpacking->tar, &entry, error) || !layer_budget_check(unpacking->budget, error))
            return FALSE;
        if (entry == NULL)
            return TRUE;
        path = archive_entry_pathname(entry);
        if (path == NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "an entry of the layer has no readable name");
        if (!take_entry(unpacking, entry, path, error)) {
            g_autofree char *shown = g_strescape(path, NULL);

            g_prefix_error(error, "entry \"%.256s\": ", shown);
            return FALSE;
        }
    }
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

static gboolean read_tar(Unpacking *unpacking, GError **error)
{
    blob_stream_set_check(unpacking->stream, check_budget, unpacking);
    if (!check_media_type(unpacking->stream, unpacking->spec->media_type, error))
        return FALSE;
    unpacking->tar = tar_reader_open(stream_next, unpacking, "bad tar", error);
    return unpacking->tar != NULL && take_entries(unpacking, error) && check_digest(unpacking, error);
}

GPtrArray *layer_tar_read(const LayerFiles *files, const LayerSpec *spec, LayerBudget *budget,
                          ErofsWriter *writer, GError **error)
{
    const BlobStreamSpec blob = {
        .fd = files->blob_fd,
        .max_bytes = spec->max_bytes,
        .what = "layer",
        .option = "images.max_layer_size",
        .digest_like = spec->diff_id != NULL ? spec->diff_id : "sha256:",
    };
    g_autoptr(BlobStream) stream = blob_stream_open(&blob, error);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func((GDestroyNotify)layer_name_free);
    Unpacking unpacking = {
        .files = files, .spec = spec, .budget = budget, .stream = stream, .writer = writer, .names = names};
    /* libarchive decodes names by the thread's locale: bytes must come out as they are. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = utf8 != (locale_t)0 ? uselocale(utf8) : (locale_t)0;
    gboolean done = stream != NULL && read_tar(&unpacking, error);

    tar_reader_free(unpacking.tar);
    if (utf8 != (locale_t)0) {
        uselocale(before);
        freelocale(utf8);
    }
    return done ? g_steal_pointer(&names) : NULL;
}
