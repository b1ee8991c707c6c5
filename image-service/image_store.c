/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/string_table.h"
#include "image-service/content/digest.h"
#include "image-service/layer_holds.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DIR, closedir)

/* Of layer files. 0: made without regard to what is below the layer. */
enum { LAYER_FORMAT_CURRENT = 1, LAYER_MODE = 0440, ALL_MODE_BITS = 07777 };

enum {
    MAX_PARTIAL_AGE_S = 6 * 3600,
    FIXED_INODES = 8 /* directories, lock, database */
};

typedef struct {
    ImageLayer layer;
    guint64 disk_bytes;
    guint images; /* rows of image_layers */
    gboolean is_self_contained;
    gboolean is_current; /* of the current format */
} StoreLayer;

struct ImageStore {
    char *root;
    gid_t layers_gid;
    int lock_fd;
    GMutex change_lock;      /* before lock */
    ImageDatabase *database; /* used with change_lock held */
    GMutex lock;
    GHashTable *layers; /* key to StoreLayer */
    LayerHolds *holds;
    guint64 layer_bytes;
    guint64 config_bytes;
};

/* Layers in memory */

static ImageLayer *image_layer_copy(const ImageLayer *layer)
{
    ImageLayer *copy = g_new0(ImageLayer, 1);

    copy->key = g_strdup(layer->key);
    copy->path = g_strdup(layer->path);
    copy->size_bytes = layer->size_bytes;
    return copy;
}

static void clear_layer(ImageLayer *layer)
{
    g_free(layer->key);
    g_free(layer->path);
}

void image_layer_free(ImageLayer *layer)
{
    if (layer == NULL)
        return;
    clear_layer(layer);
    g_free(layer);
}

static void store_layer_free(gpointer data)
{
    StoreLayer *layer = data;

    clear_layer(&layer->layer);
    g_free(layer);
}

/* The key is a checked digest: "sha256:<hex>". */
static char *layer_path(const ImageStore *store, const char *key)
{
    const char *colon = strchr(key, ':');
    g_autofree char *algorithm = g_strndup(key, (gsize)(colon - key));
    g_autofree char *file = g_strconcat(colon + 1, ".erofs", NULL);

    return g_build_filename(store->root, "layers", algorithm, file, NULL);
}

/* A layer that is there already was made anew: its images stay. */
static void remember_layer(ImageStore *store, const LayerRow *row)
{
    const StoreLayer *old = g_hash_table_lookup(store->layers, row->key);
    StoreLayer *layer = g_new0(StoreLayer, 1);

    layer->layer.key = g_strdup(row->key);
    layer->layer.path = layer_path(store, row->key);
    layer->layer.size_bytes = row->size_bytes;
    layer->disk_bytes = row->disk_bytes;
    layer->is_self_contained = row->is_self_contained;
    layer->is_current = row->format == LAYER_FORMAT_CURRENT;
    if (old != NULL) {
        layer->images = old->images;
        store->layer_bytes -= old->disk_bytes;
    }
    store->layer_bytes += row->disk_bytes;
    g_hash_table_replace(store->layers, layer->layer.key, layer);
}

static void forget_layer(ImageStore *store, const char *key)
{
    const StoreLayer *layer = g_hash_table_lookup(store->layers, key);

    store->layer_bytes -= layer->disk_bytes;
    g_hash_table_remove(store->layers, key);
}

ImageLayer *image_store_find_layer(ImageStore *store, const char *key)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    const StoreLayer *layer = g_hash_table_lookup(store->layers, key);

    return layer != NULL ? image_layer_copy(&layer->layer) : NULL;
}

ImageLayer *image_store_find_layer_for(ImageStore *store, const LayerPlace *place)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    const StoreLayer *layer = g_hash_table_lookup(store->layers, place->chain_id);

    if (layer == NULL || !layer->is_current) {
        layer = g_hash_table_lookup(store->layers, place->diff_id);
        if (layer == NULL || !layer->is_current || !layer->is_self_contained)
            return NULL;
    }
    return image_layer_copy(&layer->layer);
}

gboolean image_store_has_current(ImageStore *store, const char *const *keys)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);

    for (; *keys != NULL; keys++) {
        const StoreLayer *layer = g_hash_table_lookup(store->layers, *keys);

        if (layer == NULL || !layer->is_current)
            return FALSE;
    }
    return TRUE;
}

void image_store_usage(ImageStore *store, guint64 *ret_bytes, guint64 *ret_inodes)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);

    *ret_bytes = store->layer_bytes + store->config_bytes;
    *ret_inodes = g_hash_table_size(store->layers) + FIXED_INODES;
}

void image_store_hold(ImageStore *store, const char *owner, const char *const *keys)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);

    layer_holds_add(store->holds, owner, keys);
}

void image_store_release(ImageStore *store, const char *owner, char ***ret_keys)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    g_auto(GStrv) released = layer_holds_release(store->holds, owner);

    if (ret_keys != NULL)
        *ret_keys = g_steal_pointer(&released);
}

/* Layers on disk */

char *image_store_ingest_path(ImageStore *store, const char *name)
{
    return g_build_filename(store->root, "ingest", name, NULL);
}

gboolean image_store_ingest_file(ImageStore *store, char **ret_path, int *ret_fd, GError **error)
{
    g_autofree char *path = image_store_ingest_path(store, "new.XXXXXX");
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0)
        return fail_errno(error, errno, "cannot create a file in %s/ingest", store->root);
    *ret_path = g_steal_pointer(&path);
    *ret_fd = fd;
    return TRUE;
}

void image_store_tidy_ingest(ImageStore *store)
{
    g_autofree char *path = g_build_filename(store->root, "ingest", NULL);
    g_autoptr(DIR) directory = opendir(path);
    gint64 oldest_s = g_get_real_time() / G_USEC_PER_SEC - MAX_PARTIAL_AGE_S;
    const struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        struct stat status;

        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            status.st_mtim.tv_sec < oldest_s)
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
}

static gboolean sync_directory_of(const char *path, GError **error)
{
    g_autofree char *directory = g_path_get_dirname(path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    gboolean done = fd >= 0 && fsync(fd) == 0;
    int errnum = errno;

    if (fd >= 0)
        close(fd);
    return done || fail_errno(error, errnum, "cannot sync %s", directory);
}

/* With change_lock held: rename, row, and only then the table. */
static gboolean publish_layer(ImageStore *store, const LayerRow *row, const char *temporary, GError **error)
{
    g_autofree char *path = layer_path(store, row->key);

    if (rename(temporary, path) != 0)
        return fail_errno(error, errno, "cannot rename %s to %s", temporary, path);
    if (!sync_directory_of(path, error) || !image_database_put_layer(store->database, row, error)) {
        unlink(path);
        return FALSE;
    }
    g_mutex_lock(&store->lock);
    remember_layer(store, row);
    g_mutex_unlock(&store->lock);
    return TRUE;
}

static gboolean has_layer_for(ImageStore *store, const LayerPlace *place)
{
    g_autoptr(ImageLayer) layer = image_store_find_layer_for(store, place);

    return layer != NULL;
}

/* Of an image from a registry that asks for credentials, other users of the node may see nothing. Return:
 * FALSE with errno set. */
static gboolean layer_protect(const ImageStore *store, int fd)
{
    return (store->layers_gid == 0 || fchown(fd, (uid_t)-1, store->layers_gid) == 0) &&
           fchmod(fd, LAYER_MODE) == 0;
}

gboolean image_store_add_layer(ImageStore *store, const LayerPlace *place, gboolean is_self_contained,
                               const char *path, int fd, GError **error)
{
    LayerRow row = {.key = (char *)(is_self_contained ? place->diff_id : place->chain_id),
                    .diff_id = (char *)place->diff_id,
                    .is_self_contained = is_self_contained,
                    .format = LAYER_FORMAT_CURRENT};
    struct stat status;
    gboolean done;

    if (!layer_protect(store, fd) || fsync(fd) != 0 || fstat(fd, &status) != 0) {
        fail_errno(error, errno, "cannot sync %s", path);
        unlink(path);
        return FALSE;
    }
    row.size_bytes = (guint64)status.st_size;
    row.disk_bytes = (guint64)status.st_blocks * 512;
    g_mutex_lock(&store->change_lock);
    done = has_layer_for(store, place) || publish_layer(store, &row, path, error);
    g_mutex_unlock(&store->change_lock);
    unlink(path);
    return done;
}

/* With change_lock held. The row goes first: a file without one is removed at the next start. */
static void drop_layer(ImageStore *store, const char *key)
{
    g_autofree char *path = layer_path(store, key);
    g_autoptr(GError) error = NULL;

    g_mutex_lock(&store->lock);
    forget_layer(store, key);
    g_mutex_unlock(&store->lock);
    if (!image_database_delete_layer(store->database, key, &error))
        log_warning(LOG_FIELDS("layer", key), "%s", error->message);
    if (unlink(path) != 0 && errno != ENOENT)
        log_warning(LOG_FIELDS("layer", key), "cannot remove %s: %s", path, g_strerror(errno));
}

/* Those of the layers (NULL: of all) that neither an image nor an owner has now. */
static GPtrArray *list_unused(ImageStore *store, const char *const *keys)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    GPtrArray *unused = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iterator;
    gpointer key;
    gpointer value;

    g_hash_table_iter_init(&iterator, store->layers);
    while (g_hash_table_iter_next(&iterator, &key, &value))
        if (((const StoreLayer *)value)->images == 0 && !layer_holds_has(store->holds, key) &&
            (keys == NULL || g_strv_contains(keys, key)))
            g_ptr_array_add(unused, g_strdup(key));
    return unused;
}

void image_store_drop_unused(ImageStore *store, const char *const *keys)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) changing = g_mutex_locker_new(&store->change_lock);
    g_autoptr(GPtrArray) unused = list_unused(store, keys);

    for (guint i = 0; i < unused->len; i++) {
        const char *key = g_ptr_array_index(unused, i);
        gboolean is_held;

        g_mutex_lock(&store->lock);
        is_held = layer_holds_has(store->holds, key);
        g_mutex_unlock(&store->lock);
        if (!is_held)
            drop_layer(store, key);
    }
}

/* Images */

gboolean image_store_images(ImageStore *store, GPtrArray **ret_images, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) changing = g_mutex_locker_new(&store->change_lock);

    return image_database_images(store->database, ret_images, error);
}

static void count_image(ImageStore *store, const StoredImage *image, int by)
{
    g_mutex_lock(&store->lock);
    for (char **key = image->layer_keys; *key != NULL; key++) {
        StoreLayer *layer = g_hash_table_lookup(store->layers, *key);

        if (layer != NULL)
            layer->images += (guint)by;
    }
    if (by > 0)
        store->config_bytes += strlen(image->config_json);
    else
        store->config_bytes -= strlen(image->config_json);
    g_mutex_unlock(&store->lock);
}

gboolean image_store_put_image(ImageStore *store, const StoredImage *image, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) changing = g_mutex_locker_new(&store->change_lock);
    g_autoptr(StoredImage) old = NULL;

    if (!image_database_image(store->database, image->id, &old, error) ||
        !image_database_put_image(store->database, image, error))
        return FALSE;
    if (image->config_json == NULL)
        return TRUE;
    count_image(store, image, 1);
    if (old != NULL)
        count_image(store, old, -1);
    return TRUE;
}

gboolean image_store_remove_image(ImageStore *store, const char *id, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) changing = g_mutex_locker_new(&store->change_lock);
    g_autoptr(StoredImage) image = NULL;

    if (!image_database_image(store->database, id, &image, error) ||
        !image_database_delete_image(store->database, id, error))
        return FALSE;
    if (image != NULL)
        count_image(store, image, -1);
    return TRUE;
}

/* Opening */

/* A daemon of an earlier version, or with another group of QEMU's, has written the file. */
static void layer_protect_again(const ImageStore *store, const LayerRow *row, const struct stat *status,
                                int fd)
{
    gboolean is_protected = (status->st_mode & ALL_MODE_BITS) == LAYER_MODE &&
                            (store->layers_gid == 0 || status->st_gid == store->layers_gid);

    if (!is_protected && !layer_protect(store, fd))
        log_warning(LOG_FIELDS("layer", row->key), "cannot set who may read the layer: %s",
                    g_strerror(errno));
    /* A daemon that was killed while a QEMU opened the layer has left the user of that VM in it. */
    (void)fremovexattr(fd, "system.posix_acl_access");
}

/* Remembers the layers whose file is there as it was written. */
static void load_layers(ImageStore *store, const GArray *rows)
{
    for (guint i = 0; i < rows->len; i++) {
        const LayerRow *row = &g_array_index(rows, LayerRow, i);
        g_autofree char *path = digest_is_valid(row->key) ? layer_path(store, row->key) : NULL;
        int fd = path != NULL ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
        struct stat status;

        if (fd < 0)
            continue;
        if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
            (guint64)status.st_size == row->size_bytes) {
            remember_layer(store, row);
            layer_protect_again(store, row, &status, fd);
        }
        close(fd);
    }
}

static gboolean is_whole(const ImageStore *store, const StoredImage *image)
{
    for (char **key = image->layer_keys; *key != NULL; key++)
        if (!g_hash_table_contains(store->layers, *key))
            return FALSE;
    return TRUE;
}

static gboolean drop_broken_images(ImageStore *store, GError **error)
{
    g_autoptr(GPtrArray) images = NULL;

    if (!image_database_images(store->database, &images, error))
        return FALSE;
    for (guint i = 0; i < images->len; i++) {
        const StoredImage *image = g_ptr_array_index(images, i);

        if (is_whole(store, image)) {
            count_image(store, image, 1);
            continue;
        }
        log_warning(LOG_FIELDS("image", image->id, "tag", image->tags[0]),
                    "dropped an image whose layer files are missing; pull it again");
        if (!image_database_delete_image(store->database, image->id, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean delete_missing_rows(ImageStore *store, const GArray *rows, GError **error)
{
    for (guint i = 0; i < rows->len; i++) {
        const char *key = g_array_index(rows, LayerRow, i).key;

        if (!g_hash_table_contains(store->layers, key) &&
            !image_database_delete_layer(store->database, key, error))
            return FALSE;
    }
    return TRUE;
}

/* Files that never got a row, or lost it. */
static gboolean remove_orphan_files(ImageStore *store, const char *algorithm, GError **error)
{
    g_autofree char *path = g_build_filename(store->root, "layers", algorithm, NULL);
    g_autoptr(DIR) directory = opendir(path);
    const struct dirent *entry;

    if (directory == NULL)
        return fail_errno(error, errno, "cannot read %s", path);
    while ((entry = readdir(directory)) != NULL) {
        g_autofree char *key = g_strdup_printf("%s:%s", algorithm, entry->d_name);
        g_autofree char *file = g_build_filename(path, entry->d_name, NULL);

        if (g_str_has_suffix(key, ".erofs"))
            key[strlen(key) - strlen(".erofs")] = '\0';
        if (entry->d_name[0] != '.' && !g_hash_table_contains(store->layers, key) &&
            !dir_remove_tree(file, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean make_directories(ImageStore *store, GError **error)
{
    static const struct {
        const char *name;
        int mode;
    } directories[] = {{"layers", 0711}, {"layers/sha256", 0711}, {"layers/sha512", 0711}, {"ingest", 0700}};
    g_autofree char *ingest = g_build_filename(store->root, "ingest", NULL);

    if (!dir_remove_tree(ingest, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(directories); i++) {
        g_autofree char *path = g_build_filename(store->root, directories[i].name, NULL);

        if (!dir_make(path, directories[i].mode, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean repair(ImageStore *store, GError **error)
{
    g_autoptr(GArray) rows = NULL;

    if (!image_database_layers(store->database, &rows, error))
        return FALSE;
    load_layers(store, rows);
    return drop_broken_images(store, error) && delete_missing_rows(store, rows, error) &&
           remove_orphan_files(store, "sha256", error) && remove_orphan_files(store, "sha512", error);
}

static gboolean lock_root(ImageStore *store, GError **error)
{
    g_autofree char *path = g_build_filename(store->root, "lock", NULL);

    /* QEMU runs as another user and must reach the layers; other users need not list their names. */
    return dir_make(store->root, 0711, error) && file_lock(path, &store->lock_fd, error);
}

ImageStore *image_store_open(const char *root, gid_t layers_gid, GError **error)
{
    g_autoptr(ImageStore) store = g_new0(ImageStore, 1);

    store->lock_fd = -1;
    store->root = g_canonicalize_filename(root, NULL);
    store->layers_gid = layers_gid;
    g_mutex_init(&store->change_lock);
    g_mutex_init(&store->lock);
    store->layers = string_table_new(NULL, store_layer_free);
    store->holds = layer_holds_new();
    if (!lock_root(store, error) || !make_directories(store, error) ||
        (store->database = image_database_open(store->root, error)) == NULL || !repair(store, error)) {
        g_prefix_error(error, "image store %s: ", root);
        return NULL;
    }
    return g_steal_pointer(&store);
}

void image_store_close(ImageStore *store)
{
    if (store == NULL)
        return;
    image_database_close(store->database);
    g_hash_table_unref(store->layers);
    layer_holds_free(store->holds);
    g_mutex_clear(&store->change_lock);
    g_mutex_clear(&store->lock);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    g_free(store->root);
    g_free(store);
}
