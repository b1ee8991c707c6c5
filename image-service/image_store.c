/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "image-service/content/digest.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(sqlite3_stmt, sqlite3_finalize)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DIR, closedir)

/* One row per version: how a database of the version before becomes one of it. Never changed, only added to.
 */
static const char *const migrations[] = {
    "CREATE TABLE layers (diff_id TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL,"
    " disk_bytes INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE images (id TEXT PRIMARY KEY, config_json TEXT NOT NULL, size_bytes INTEGER NOT NULL,"
    " pulled_at_ns INTEGER NOT NULL);"
    "CREATE TABLE image_layers (image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,"
    " position INTEGER NOT NULL, diff_id TEXT NOT NULL REFERENCES layers (diff_id),"
    " PRIMARY KEY (image_id, position)) WITHOUT ROWID;"
    "CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);"
    "CREATE TABLE names (name TEXT PRIMARY KEY, is_digest INTEGER NOT NULL,"
    " image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE) WITHOUT ROWID;"
    "CREATE INDEX names_by_image ON names (image_id);",
};

enum {
    BUSY_TIMEOUT_MS = 5000,
    MAX_PARTIAL_AGE_S = 6 * 3600,
    FIXED_INODES = 8 /* directories, lock, database */
};

typedef struct {
    ImageLayer layer;
    guint64 disk_bytes;
    guint images; /* rows of image_layers */
} Layer;

struct ImageStore {
    char *root;
    int lock_fd;
    GMutex change_lock; /* before lock */
    sqlite3 *database;  /* used with change_lock held */
    GMutex lock;
    GHashTable *layers;  /* diff id to Layer */
    GHashTable *holders; /* owner to GPtrArray of diff ids */
    GHashTable *held;    /* diff id to count */
    guint64 layer_bytes;
    guint64 config_bytes;
};

/* SQLite */

static gboolean sql_fail(ImageStore *store, const char *doing, GError **error)
{
    gboolean is_full = sqlite3_errcode(store->database) == SQLITE_FULL;

    fail(error, is_full ? STATUS_RESOURCE_EXHAUSTED : STATUS_INTERNAL, "image database: cannot %s: %s", doing,
         sqlite3_errmsg(store->database));
    return FALSE;
}

static gboolean sql_exec(ImageStore *store, const char *sql, GError **error)
{
    return sqlite3_exec(store->database, sql, NULL, NULL, NULL) == SQLITE_OK || sql_fail(store, sql, error);
}

/* A statement with its values: 's' const char *, 'i' gint64. */
static sqlite3_stmt *sql_prepare(ImageStore *store, GError **error, const char *sql, const char *types,
                                 va_list values)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) != SQLITE_OK) {
        sql_fail(store, sql, error);
        return NULL;
    }
    for (int i = 0; types[i] != '\0'; i++) {
        if (types[i] == 's')
            sqlite3_bind_text(statement, i + 1, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
        else
            sqlite3_bind_int64(statement, i + 1, va_arg(values, gint64));
    }
    return statement;
}

static sqlite3_stmt *sql_query(ImageStore *store, GError **error, const char *sql, const char *types, ...)
{
    sqlite3_stmt *statement;
    va_list values;

    va_start(values, types);
    statement = sql_prepare(store, error, sql, types, values);
    va_end(values);
    return statement;
}

static gboolean sql_run(ImageStore *store, GError **error, const char *sql, const char *types, ...)
{
    g_autoptr(sqlite3_stmt) statement = NULL;
    va_list values;

    va_start(values, types);
    statement = sql_prepare(store, error, sql, types, values);
    va_end(values);
    if (statement == NULL)
        return FALSE;
    return sqlite3_step(statement) == SQLITE_DONE || sql_fail(store, sql, error);
}

/* Ends a transaction by how its body went. */
static gboolean sql_end(ImageStore *store, gboolean done, GError **error)
{
    if (done && sql_exec(store, "COMMIT", error))
        return TRUE;
    sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    return FALSE;
}

static gboolean read_version(ImageStore *store, gint64 *ret_version, GError **error)
{
    g_autoptr(sqlite3_stmt) statement = sql_query(store, error, "PRAGMA user_version", "");

    if (statement == NULL)
        return FALSE;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return sql_fail(store, "read its version", error);
    *ret_version = sqlite3_column_int64(statement, 0);
    return TRUE;
}

static gboolean migrate(ImageStore *store, GError **error)
{
    gint64 version = 0;

    if (!read_version(store, &version, error))
        return FALSE;
    if (version > (gint64)G_N_ELEMENTS(migrations))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "the image database is of version %" G_GINT64_FORMAT ", newer than this program",
                    version);
    for (; version < (gint64)G_N_ELEMENTS(migrations); version++) {
        g_autofree char *pragma = g_strdup_printf("PRAGMA user_version = %" G_GINT64_FORMAT, version + 1);

        if (!sql_exec(store, "BEGIN IMMEDIATE", error) ||
            !sql_end(store, sql_exec(store, migrations[version], error) && sql_exec(store, pragma, error),
                     error))
            return FALSE;
    }
    return TRUE;
}

static gboolean open_database(ImageStore *store, GError **error)
{
    g_autofree char *path = g_build_filename(store->root, "images.db", NULL);

    if (!file_make_private(path, error))
        return FALSE;
    if (sqlite3_open_v2(path, &store->database, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return sql_fail(store, "open", error);
    sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS);
    return sql_exec(store, "PRAGMA journal_mode = WAL", error) &&
           sql_exec(store, "PRAGMA synchronous = FULL", error) &&
           sql_exec(store, "PRAGMA foreign_keys = ON", error) && migrate(store, error);
}

/* Layers in memory */

static ImageLayer *image_layer_copy(const ImageLayer *layer)
{
    ImageLayer *copy = g_new0(ImageLayer, 1);

    copy->diff_id = g_strdup(layer->diff_id);
    copy->path = g_strdup(layer->path);
    copy->size_bytes = layer->size_bytes;
    return copy;
}

static void clear_layer(ImageLayer *layer)
{
    g_free(layer->diff_id);
    g_free(layer->path);
}

void image_layer_free(ImageLayer *layer)
{
    if (layer == NULL)
        return;
    clear_layer(layer);
    g_free(layer);
}

static void layer_free(gpointer data)
{
    Layer *layer = data;

    clear_layer(&layer->layer);
    g_free(layer);
}

/* The diff id is a checked digest: "sha256:<hex>". */
static char *layer_path(const ImageStore *store, const char *diff_id)
{
    const char *colon = strchr(diff_id, ':');
    g_autofree char *algorithm = g_strndup(diff_id, (gsize)(colon - diff_id));
    g_autofree char *file = g_strconcat(colon + 1, ".erofs", NULL);

    return g_build_filename(store->root, "layers", algorithm, file, NULL);
}

static void remember_layer(ImageStore *store, const char *diff_id, guint64 size, guint64 disk_bytes)
{
    Layer *layer = g_new0(Layer, 1);

    layer->layer.diff_id = g_strdup(diff_id);
    layer->layer.path = layer_path(store, diff_id);
    layer->layer.size_bytes = size;
    layer->disk_bytes = disk_bytes;
    store->layer_bytes += disk_bytes;
    g_hash_table_replace(store->layers, layer->layer.diff_id, layer);
}

static void forget_layer(ImageStore *store, const char *diff_id)
{
    const Layer *layer = g_hash_table_lookup(store->layers, diff_id);

    store->layer_bytes -= layer->disk_bytes;
    g_hash_table_remove(store->layers, diff_id);
}

ImageLayer *image_store_find_layer(ImageStore *store, const char *diff_id)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    const Layer *layer = g_hash_table_lookup(store->layers, diff_id);

    return layer != NULL ? image_layer_copy(&layer->layer) : NULL;
}

void image_store_usage(ImageStore *store, guint64 *ret_bytes, guint64 *ret_inodes)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);

    *ret_bytes = store->layer_bytes + store->config_bytes;
    *ret_inodes = g_hash_table_size(store->layers) + FIXED_INODES;
}

/* Holds */

static guint held_count(const ImageStore *store, const char *diff_id)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(store->held, diff_id));
}

static void set_held_count(ImageStore *store, const char *diff_id, guint count)
{
    if (count == 0)
        g_hash_table_remove(store->held, diff_id);
    else
        g_hash_table_replace(store->held, g_strdup(diff_id), GUINT_TO_POINTER(count));
}

void image_store_hold(ImageStore *store, const char *owner, const char *const *diff_ids)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    GPtrArray *holding = g_hash_table_lookup(store->holders, owner);

    if (holding == NULL) {
        holding = g_ptr_array_new_with_free_func(g_free);
        g_hash_table_insert(store->holders, g_strdup(owner), holding);
    }
    for (; *diff_ids != NULL; diff_ids++) {
        if (g_ptr_array_find_with_equal_func(holding, *diff_ids, g_str_equal, NULL))
            continue;
        g_ptr_array_add(holding, g_strdup(*diff_ids));
        set_held_count(store, *diff_ids, held_count(store, *diff_ids) + 1);
    }
}

void image_store_release(ImageStore *store, const char *owner, char ***ret_diff_ids)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    GPtrArray *holding = g_hash_table_lookup(store->holders, owner);
    g_autoptr(GStrvBuilder) released = g_strv_builder_new();

    for (guint i = 0; holding != NULL && i < holding->len; i++) {
        const char *diff_id = g_ptr_array_index(holding, i);

        set_held_count(store, diff_id, held_count(store, diff_id) - 1);
        g_strv_builder_add(released, diff_id);
    }
    g_hash_table_remove(store->holders, owner);
    if (ret_diff_ids != NULL)
        *ret_diff_ids = g_strv_builder_end(released);
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
static gboolean publish_layer(ImageStore *store, const char *diff_id, const char *temporary,
                              const struct stat *status, GError **error)
{
    g_autofree char *path = layer_path(store, diff_id);
    guint64 disk_bytes = (guint64)status->st_blocks * 512;

    if (rename(temporary, path) != 0)
        return fail_errno(error, errno, "cannot rename %s to %s", temporary, path);
    if (!sync_directory_of(path, error) ||
        !sql_run(store, error,
                 "INSERT OR REPLACE INTO layers (diff_id, size_bytes, disk_bytes) VALUES (?, ?, ?)", "sii",
                 diff_id, (gint64)status->st_size, (gint64)disk_bytes)) {
        unlink(path);
        return FALSE;
    }
    g_mutex_lock(&store->lock);
    remember_layer(store, diff_id, (guint64)status->st_size, disk_bytes);
    g_mutex_unlock(&store->lock);
    return TRUE;
}

gboolean image_store_add_layer(ImageStore *store, const char *diff_id, const char *path, int fd,
                               GError **error)
{
    struct stat status;
    gboolean done;

    if (fchmod(fd, 0444) != 0 || fsync(fd) != 0 || fstat(fd, &status) != 0) {
        fail_errno(error, errno, "cannot sync %s", path);
        unlink(path);
        return FALSE;
    }
    g_mutex_lock(&store->change_lock);
    done =
        g_hash_table_contains(store->layers, diff_id) || publish_layer(store, diff_id, path, &status, error);
    g_mutex_unlock(&store->change_lock);
    unlink(path);
    return done;
}

/* With change_lock held. The row goes first: a file without one is removed at the next start. */
static void drop_layer(ImageStore *store, const char *diff_id)
{
    g_autofree char *path = layer_path(store, diff_id);
    g_autoptr(GError) error = NULL;

    g_mutex_lock(&store->lock);
    forget_layer(store, diff_id);
    g_mutex_unlock(&store->lock);
    if (!sql_run(store, &error, "DELETE FROM layers WHERE diff_id = ?", "s", diff_id))
        log_warning(LOG_FIELDS("layer", diff_id), "%s", error->message);
    if (unlink(path) != 0 && errno != ENOENT)
        log_warning(LOG_FIELDS("layer", diff_id), "cannot remove %s: %s", path, g_strerror(errno));
}

void image_store_drop_unused(ImageStore *store, const char *const *diff_ids)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) changing = g_mutex_locker_new(&store->change_lock);
    g_autoptr(GPtrArray) unused = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iterator;
    gpointer diff_id;
    gpointer value;

    g_mutex_lock(&store->lock);
    g_hash_table_iter_init(&iterator, store->layers);
    while (g_hash_table_iter_next(&iterator, &diff_id, &value))
        if (((const Layer *)value)->images == 0 && held_count(store, diff_id) == 0 &&
            (diff_ids == NULL || g_strv_contains(diff_ids, diff_id)))
            g_ptr_array_add(unused, g_strdup(diff_id));
    g_mutex_unlock(&store->lock);
    for (guint i = 0; i < unused->len; i++) {
        gboolean still;

        g_mutex_lock(&store->lock);
        still = held_count(store, g_ptr_array_index(unused, i)) == 0;
        g_mutex_unlock(&store->lock);
        if (still)
            drop_layer(store, g_ptr_array_index(unused, i));
    }
}

/* Images */

void stored_image_free(StoredImage *image)
{
    if (image == NULL)
        return;
    g_free(image->id);
    g_free(image->config_json);
    g_strfreev(image->diff_ids);
    g_strfreev(image->tags);
    g_strfreev(image->digests);
    g_free(image);
}

static gboolean query_strings(ImageStore *store, const char *sql, const char *id, gint64 number,
                              char ***ret_strings, GError **error)
{
    g_autoptr(sqlite3_stmt) statement = sql_query(store, error, sql, "si", id, number);
    g_autoptr(GStrvBuilder) strings = g_strv_builder_new();
    int result;

    if (statement == NULL)
        return FALSE;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW)
        g_strv_builder_add(strings, (const char *)sqlite3_column_text(statement, 0));
    if (result != SQLITE_DONE)
        return sql_fail(store, "read an image", error);
    *ret_strings = g_strv_builder_end(strings);
    return TRUE;
}

static gboolean read_parts(ImageStore *store, StoredImage *image, GError **error)
{
    static const char names_sql[] =
        "SELECT name FROM names WHERE image_id = ? AND is_digest = ? ORDER BY name";

    return query_strings(
               store,
               "SELECT diff_id FROM image_layers WHERE image_id = ? AND position >= ? ORDER BY position",
               image->id, 0, &image->diff_ids, error) &&
           query_strings(store, names_sql, image->id, 0, &image->tags, error) &&
           query_strings(store, names_sql, image->id, 1, &image->digests, error);
}

/* With change_lock held, or before there are threads. */
static gboolean read_images(ImageStore *store, GPtrArray **ret_images, GError **error)
{
    g_autoptr(sqlite3_stmt) statement =
        sql_query(store, error, "SELECT id, config_json, size_bytes, pulled_at_ns FROM images", "");
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)stored_image_free);
    int result;

    if (statement == NULL)
        return FALSE;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        StoredImage *image = g_new0(StoredImage, 1);

        g_ptr_array_add(images, image);
        image->id = g_strdup((const char *)sqlite3_column_text(statement, 0));
        image->config_json = g_strdup((const char *)sqlite3_column_text(statement, 1));
        image->size_bytes = (guint64)sqlite3_column_int64(statement, 2);
        image->pulled_at_ns = sqlite3_column_int64(statement, 3);
        if (!read_parts(store, image, error))
            return FALSE;
    }
    if (result != SQLITE_DONE)
        return sql_fail(store, "read images", error);
    *ret_images = g_steal_pointer(&images);
    return TRUE;
}

gboolean image_store_images(ImageStore *store, GPtrArray **ret_images, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) changing = g_mutex_locker_new(&store->change_lock);

    return read_images(store, ret_images, error);
}

static void count_image(ImageStore *store, const StoredImage *image, int by)
{
    g_mutex_lock(&store->lock);
    for (char **diff_id = image->diff_ids; *diff_id != NULL; diff_id++) {
        Layer *layer = g_hash_table_lookup(store->layers, *diff_id);

        if (layer != NULL)
            layer->images += (guint)by;
    }
    if (by > 0)
        store->config_bytes += strlen(image->config_json);
    else
        store->config_bytes -= strlen(image->config_json);
    g_mutex_unlock(&store->lock);
}

static gboolean image_exists(ImageStore *store, const char *id, gboolean *ret_exists, GError **error)
{
    g_autoptr(sqlite3_stmt) statement = sql_query(store, error, "SELECT 1 FROM images WHERE id = ?", "s", id);
    int result;

    if (statement == NULL)
        return FALSE;
    result = sqlite3_step(statement);
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        return sql_fail(store, "look for an image", error);
    *ret_exists = result == SQLITE_ROW;
    return TRUE;
}

static gboolean insert_image(ImageStore *store, const StoredImage *image, GError **error)
{
    if (!sql_run(store, error,
                 "INSERT INTO images (id, config_json, size_bytes, pulled_at_ns) VALUES (?, ?, ?, ?)", "ssii",
                 image->id, image->config_json, (gint64)image->size_bytes, image->pulled_at_ns))
        return FALSE;
    for (gint64 i = 0; image->diff_ids[i] != NULL; i++)
        if (!sql_run(store, error, "INSERT INTO image_layers (image_id, position, diff_id) VALUES (?, ?, ?)",
                     "sis", image->id, i, image->diff_ids[i]))
            return FALSE;
    return TRUE;
}

static gboolean put_names(ImageStore *store, const char *id, char **names, gint64 is_digest, GError **error)
{
    for (; names != NULL && *names != NULL; names++)
        if (!sql_run(store, error,
                     "INSERT OR REPLACE INTO names (name, is_digest, image_id) VALUES (?, ?, ?)", "sis",
                     *names, is_digest, id))
            return FALSE;
    return TRUE;
}

gboolean image_store_put_image(ImageStore *store, const StoredImage *image, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) changing = g_mutex_locker_new(&store->change_lock);
    gboolean exists = FALSE;
    gboolean done;

    if (!image_exists(store, image->id, &exists, error) || !sql_exec(store, "BEGIN IMMEDIATE", error))
        return FALSE;
    done = (exists || insert_image(store, image, error)) &&
           put_names(store, image->id, image->tags, 0, error) &&
           put_names(store, image->id, image->digests, 1, error);
    if (!sql_end(store, done, error))
        return FALSE;
    if (!exists)
        count_image(store, image, 1);
    return TRUE;
}

/* With change_lock held, or before there are threads. */
static gboolean delete_image(ImageStore *store, const char *id, GError **error)
{
    return sql_run(store, error, "DELETE FROM images WHERE id = ?", "s", id);
}

gboolean image_store_remove_image(ImageStore *store, const char *id, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) changing = g_mutex_locker_new(&store->change_lock);
    g_autoptr(GPtrArray) images = NULL;

    if (!read_images(store, &images, error) || !delete_image(store, id, error))
        return FALSE;
    for (guint i = 0; i < images->len; i++) {
        const StoredImage *image = g_ptr_array_index(images, i);

        if (g_str_equal(image->id, id))
            count_image(store, image, -1);
    }
    return TRUE;
}

/* Opening */

/* The rows whose file is there as it was written. */
static gboolean load_layers(ImageStore *store, GError **error)
{
    g_autoptr(sqlite3_stmt) statement =
        sql_query(store, error, "SELECT diff_id, size_bytes, disk_bytes FROM layers", "");
    int result;

    if (statement == NULL)
        return FALSE;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *diff_id = (const char *)sqlite3_column_text(statement, 0);
        gint64 size = sqlite3_column_int64(statement, 1);
        g_autofree char *path = digest_is_valid(diff_id) ? layer_path(store, diff_id) : NULL;
        struct stat status;

        if (path != NULL && lstat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == size)
            remember_layer(store, diff_id, (guint64)size, (guint64)sqlite3_column_int64(statement, 2));
    }
    return result == SQLITE_DONE || sql_fail(store, "read layers", error);
}

static gboolean is_whole(const ImageStore *store, const StoredImage *image)
{
    for (char **diff_id = image->diff_ids; *diff_id != NULL; diff_id++)
        if (!g_hash_table_contains(store->layers, *diff_id))
            return FALSE;
    return TRUE;
}

static gboolean drop_broken_images(ImageStore *store, GError **error)
{
    g_autoptr(GPtrArray) images = NULL;

    if (!read_images(store, &images, error))
        return FALSE;
    for (guint i = 0; i < images->len; i++) {
        const StoredImage *image = g_ptr_array_index(images, i);

        if (is_whole(store, image)) {
            count_image(store, image, 1);
            continue;
        }
        log_warning(LOG_FIELDS("image", image->id, "tag", image->tags[0]),
                    "dropped an image whose layer files are missing; pull it again");
        if (!delete_image(store, image->id, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean delete_missing_rows(ImageStore *store, GError **error)
{
    g_auto(GStrv) diff_ids = NULL;

    if (!query_strings(store, "SELECT diff_id FROM layers WHERE diff_id >= ? AND ? = 0", "", 0, &diff_ids,
                       error))
        return FALSE;
    for (char **diff_id = diff_ids; *diff_id != NULL; diff_id++)
        if (!g_hash_table_contains(store->layers, *diff_id) &&
            !sql_run(store, error, "DELETE FROM layers WHERE diff_id = ?", "s", *diff_id))
            return FALSE;
    return TRUE;
}

/* Files that never got a row, or lost it. */
static gboolean remove_stray_files(ImageStore *store, const char *algorithm, GError **error)
{
    g_autofree char *path = g_build_filename(store->root, "layers", algorithm, NULL);
    g_autoptr(DIR) directory = opendir(path);
    const struct dirent *entry;

    if (directory == NULL)
        return fail_errno(error, errno, "cannot read %s", path);
    while ((entry = readdir(directory)) != NULL) {
        g_autofree char *diff_id = g_strdup_printf("%s:%s", algorithm, entry->d_name);
        g_autofree char *file = g_build_filename(path, entry->d_name, NULL);

        if (g_str_has_suffix(diff_id, ".erofs"))
            diff_id[strlen(diff_id) - strlen(".erofs")] = '\0';
        if (entry->d_name[0] != '.' && !g_hash_table_contains(store->layers, diff_id) &&
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
    return load_layers(store, error) && drop_broken_images(store, error) &&
           delete_missing_rows(store, error) && remove_stray_files(store, "sha256", error) &&
           remove_stray_files(store, "sha512", error);
}

static gboolean lock_root(ImageStore *store, GError **error)
{
    g_autofree char *path = g_build_filename(store->root, "lock", NULL);

    /* QEMU runs as somebody else and must reach the layers; nobody else needs to know their names. */
    return dir_make(store->root, 0711, error) && file_lock(path, &store->lock_fd, error);
}

ImageStore *image_store_open(const char *root, GError **error)
{
    g_autoptr(ImageStore) store = g_new0(ImageStore, 1);

    store->lock_fd = -1;
    store->root = g_canonicalize_filename(root, NULL);
    g_mutex_init(&store->change_lock);
    g_mutex_init(&store->lock);
    store->layers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, layer_free);
    store->holders =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    store->held = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!lock_root(store, error) || !make_directories(store, error) || !open_database(store, error) ||
        !repair(store, error)) {
        g_prefix_error(error, "image store %s: ", root);
        return NULL;
    }
    return g_steal_pointer(&store);
}

void image_store_close(ImageStore *store)
{
    if (store == NULL)
        return;
    sqlite3_close(store->database);
    g_hash_table_unref(store->layers);
    g_hash_table_unref(store->holders);
    g_hash_table_unref(store->held);
    g_mutex_clear(&store->change_lock);
    g_mutex_clear(&store->lock);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    g_free(store->root);
    g_free(store);
}
