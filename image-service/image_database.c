/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image_database.h"

#include "common/sqlite.h"

/* One row per version: how a database of the version before becomes one of it. Rows are only ever added. */
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
    /* Layers were kept by their diff ids and made without regard to what is below them (format 0). Their
     * files stay usable; a pull makes them anew. */
    "ALTER TABLE layers RENAME COLUMN diff_id TO key;"
    "ALTER TABLE image_layers RENAME COLUMN diff_id TO layer_key;"
    "ALTER TABLE layers ADD COLUMN diff_id TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE layers ADD COLUMN is_self_contained INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE layers ADD COLUMN format INTEGER NOT NULL DEFAULT 0;"
    "UPDATE layers SET diff_id = key;",
};

struct ImageDatabase {
    Sqlite *sqlite;
};

ImageDatabase *image_database_open(const char *root, GError **error)
{
    g_autofree char *path = g_build_filename(root, "images.db", NULL);
    SqliteOptions options = {.path = path,
                             .name = "image database",
                             .migrations = migrations,
                             .n_migrations = G_N_ELEMENTS(migrations),
                             .durable = TRUE,
                             .foreign_keys = TRUE};
    Sqlite *sqlite = sqlite_open(&options, error);
    ImageDatabase *database;

    if (sqlite == NULL)
        return NULL;
    database = g_new0(ImageDatabase, 1);
    database->sqlite = sqlite;
    return database;
}

void image_database_close(ImageDatabase *database)
{
    if (database == NULL)
        return;
    sqlite_close(database->sqlite);
    g_free(database);
}

/* Layers */

void layer_row_clear(LayerRow *row)
{
    g_clear_pointer(&row->key, g_free);
    g_clear_pointer(&row->diff_id, g_free);
}

static void clear_row(gpointer row)
{
    layer_row_clear(row);
}

gboolean image_database_layers(ImageDatabase *database, GArray **ret_rows, GError **error)
{
    g_autoptr(SqliteStatement) statement = sqlite_prepare(
        database->sqlite, error,
        "SELECT key, diff_id, is_self_contained, format, size_bytes, disk_bytes FROM layers", "");
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(LayerRow));
    gboolean has_row = FALSE;

    if (statement == NULL)
        return FALSE;
    g_array_set_clear_func(rows, clear_row);
    for (;;) {
        LayerRow row = {0};

        if (!sqlite_step(statement, &has_row, error))
            return FALSE;
        if (!has_row)
            break;
        row.key = g_strdup(sqlite_column_text(statement, 0));
        row.diff_id = g_strdup(sqlite_column_text(statement, 1));
        row.is_self_contained = sqlite_column_int(statement, 2) != 0;
        row.format = (guint)sqlite_column_int(statement, 3);
        row.size_bytes = (guint64)sqlite_column_int(statement, 4);
        row.disk_bytes = (guint64)sqlite_column_int(statement, 5);
        g_array_append_val(rows, row);
    }
    *ret_rows = g_steal_pointer(&rows);
    return TRUE;
}

gboolean image_database_put_layer(ImageDatabase *database, const LayerRow *row, GError **error)
{
    static const char sql[] =
        "INSERT INTO layers (key, diff_id, is_self_contained, format, size_bytes, disk_bytes)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET diff_id = excluded.diff_id,"
        " is_self_contained = excluded.is_self_contained, format = excluded.format,"
        " size_bytes = excluded.size_bytes, disk_bytes = excluded.disk_bytes";

    return sqlite_run(database->sqlite, error, sql, "ssiiii", row->key, row->diff_id,
                      (gint64)row->is_self_contained, (gint64)row->format, (gint64)row->size_bytes,
                      (gint64)row->disk_bytes);
}

gboolean image_database_delete_layer(ImageDatabase *database, const char *key, GError **error)
{
    return sqlite_run(database->sqlite, error, "DELETE FROM layers WHERE key = ?", "s", key);
}

/* Images */

void stored_image_free(StoredImage *image)
{
    if (image == NULL)
        return;
    g_free(image->id);
    g_free(image->config_json);
    g_strfreev(image->layer_keys);
    g_strfreev(image->tags);
    g_strfreev(image->digests);
    g_free(image);
}

/* The first column of all rows. */
static gboolean read_strings(SqliteStatement *statement, char ***ret_strings, GError **error)
{
    g_autoptr(GStrvBuilder) strings = g_strv_builder_new();
    gboolean has_row = FALSE;

    if (statement == NULL)
        return FALSE;
    for (;;) {
        if (!sqlite_step(statement, &has_row, error))
            return FALSE;
        if (!has_row)
            break;
        g_strv_builder_add(strings, sqlite_column_text(statement, 0));
    }
    *ret_strings = g_strv_builder_end(strings);
    return TRUE;
}

static gboolean read_layer_keys(ImageDatabase *database, const char *id, char ***ret_keys, GError **error)
{
    g_autoptr(SqliteStatement) statement =
        sqlite_prepare(database->sqlite, error,
                       "SELECT layer_key FROM image_layers WHERE image_id = ? ORDER BY position", "s", id);

    return read_strings(statement, ret_keys, error);
}

static gboolean read_names(ImageDatabase *database, const char *id, gint64 is_digest, char ***ret_names,
                           GError **error)
{
    g_autoptr(SqliteStatement) statement = sqlite_prepare(
        database->sqlite, error, "SELECT name FROM names WHERE image_id = ? AND is_digest = ? ORDER BY name",
        "si", id, is_digest);

    return read_strings(statement, ret_names, error);
}

/* The image of the current row. */
static gboolean read_image(ImageDatabase *database, SqliteStatement *statement, StoredImage **ret_image,
                           GError **error)
{
    g_autoptr(StoredImage) image = g_new0(StoredImage, 1);

    image->id = g_strdup(sqlite_column_text(statement, 0));
    image->config_json = g_strdup(sqlite_column_text(statement, 1));
    image->size_bytes = (guint64)sqlite_column_int(statement, 2);
    image->pulled_at_ns = sqlite_column_int(statement, 3);
    if (!read_layer_keys(database, image->id, &image->layer_keys, error) ||
        !read_names(database, image->id, 0, &image->tags, error) ||
        !read_names(database, image->id, 1, &image->digests, error))
        return FALSE;
    *ret_image = g_steal_pointer(&image);
    return TRUE;
}

gboolean image_database_images(ImageDatabase *database, GPtrArray **ret_images, GError **error)
{
    g_autoptr(SqliteStatement) statement = sqlite_prepare(
        database->sqlite, error, "SELECT id, config_json, size_bytes, pulled_at_ns FROM images", "");
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)stored_image_free);
    gboolean has_row = FALSE;

    if (statement == NULL)
        return FALSE;
    for (;;) {
        StoredImage *image = NULL;

        if (!sqlite_step(statement, &has_row, error))
            return FALSE;
        if (!has_row)
            break;
        if (!read_image(database, statement, &image, error))
            return FALSE;
        g_ptr_array_add(images, image);
    }
    *ret_images = g_steal_pointer(&images);
    return TRUE;
}

gboolean image_database_image(ImageDatabase *database, const char *id, StoredImage **ret_image,
                              GError **error)
{
    g_autoptr(SqliteStatement) statement =
        sqlite_prepare(database->sqlite, error,
                       "SELECT id, config_json, size_bytes, pulled_at_ns FROM images WHERE id = ?", "s", id);
    gboolean has_row = FALSE;

    if (statement == NULL || !sqlite_step(statement, &has_row, error))
        return FALSE;
    *ret_image = NULL;
    return !has_row || read_image(database, statement, ret_image, error);
}

static gboolean insert_image(ImageDatabase *database, const StoredImage *image, GError **error)
{
    return sqlite_run(database->sqlite, error,
                      "INSERT INTO images (id, config_json, size_bytes, pulled_at_ns) VALUES (?, ?, ?, ?)"
                      " ON CONFLICT (id) DO NOTHING",
                      "ssii", image->id, image->config_json, (gint64)image->size_bytes, image->pulled_at_ns);
}

static gboolean put_layer_keys(ImageDatabase *database, const StoredImage *image, GError **error)
{
    if (!sqlite_run(database->sqlite, error, "DELETE FROM image_layers WHERE image_id = ?", "s", image->id))
        return FALSE;
    for (gint64 i = 0; image->layer_keys[i] != NULL; i++)
        if (!sqlite_run(database->sqlite, error,
                        "INSERT INTO image_layers (image_id, position, layer_key) VALUES (?, ?, ?)", "sis",
                        image->id, i, image->layer_keys[i]))
            return FALSE;
    return TRUE;
}

static gboolean put_names(ImageDatabase *database, const char *id, char **names, gint64 is_digest,
                          GError **error)
{
    for (; names != NULL && *names != NULL; names++)
        if (!sqlite_run(database->sqlite, error,
                        "INSERT OR REPLACE INTO names (name, is_digest, image_id) VALUES (?, ?, ?)", "sis",
                        *names, is_digest, id))
            return FALSE;
    return TRUE;
}

gboolean image_database_put_image(ImageDatabase *database, const StoredImage *image, GError **error)
{
    gboolean done;

    if (!sqlite_begin(database->sqlite, error))
        return FALSE;
    done = (image->config_json == NULL ||
            (insert_image(database, image, error) && put_layer_keys(database, image, error))) &&
           put_names(database, image->id, image->tags, 0, error) &&
           put_names(database, image->id, image->digests, 1, error);
    return sqlite_end(database->sqlite, done, error);
}

gboolean image_database_delete_image(ImageDatabase *database, const char *id, GError **error)
{
    return sqlite_run(database->sqlite, error, "DELETE FROM images WHERE id = ?", "s", id);
}
