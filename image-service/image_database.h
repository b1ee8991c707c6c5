/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the image store: layers, images, their layers and names, in root/images.db.
 *
 * An older database is migrated when it is opened. Not thread-safe: the store's change lock is held around
 * each call. Errors: those of common/sqlite.h.
 */
#pragma once

#include <glib.h>

typedef struct ImageDatabase ImageDatabase;

ImageDatabase *image_database_open(const char *root, GError **error);
void image_database_close(ImageDatabase *database); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageDatabase, image_database_close)

typedef struct {
    char *key;
    char *diff_id;
    gboolean is_self_contained; /* whatever is below it, the file is the same */
    guint format;               /* LAYER_FORMAT_… of image_store.h */
    guint64 size_bytes;
    guint64 disk_bytes;
} LayerRow;
void layer_row_clear(LayerRow *row);

/* Elements are LayerRow. */
gboolean image_database_layers(ImageDatabase *database, GArray **ret_rows, GError **error);
/* Adds the row, or replaces the one of that key. */
gboolean image_database_put_layer(ImageDatabase *database, const LayerRow *row, GError **error);
gboolean image_database_delete_layer(ImageDatabase *database, const char *key, GError **error);

typedef struct {
    char *id;
    char *config_json;
    guint64 size_bytes;
    gint64 pulled_at_ns;
    char **layer_keys; /* lowest first */
    char **tags;
    char **digests;
} StoredImage;
void stored_image_free(StoredImage *image); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StoredImage, stored_image_free)

/* Elements are StoredImage. */
gboolean image_database_images(ImageDatabase *database, GPtrArray **ret_images, GError **error);
/* *ret_image is NULL when there is none. */
gboolean image_database_image(ImageDatabase *database, const char *id, StoredImage **ret_image,
                              GError **error);
/* Adds the image, or to an image that is there its names and, when it has a configuration, its layers in the
 * place of the old ones. The names leave other images that had them. */
gboolean image_database_put_image(ImageDatabase *database, const StoredImage *image, GError **error);
gboolean image_database_delete_image(ImageDatabase *database, const char *id, GError **error);
