/* SPDX-License-Identifier: Apache-2.0 */
/* What of images is on disk: an SQLite database, one EROFS file per layer, and files in progress.
 *
 *     root/lock  root/images.db  root/layers/sha256/<hex>.erofs  root/ingest/…
 *
 * A layer has a row only once its file is durable, an image only once all its layers have rows. Opening
 * repairs: files in progress and files without a row are removed, and images that miss a layer are dropped
 * with a warning. Thread-safe. Two locks: one for the fields, one that changes (database, renames, unlinks)
 * take turns with; neither is held while a layer is downloaded, unpacked or synced.
 *
 * Layers that no image has stay until image_store_drop_unused() finds that nobody holds them.
 */
#pragma once

#include "image-service/image_service.h"

typedef struct ImageStore ImageStore;

/* UNAVAILABLE while another process has the root open. */
ImageStore *image_store_open(const char *root, GError **error);
void image_store_close(ImageStore *store); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageStore, image_store_close)

/* Layers */

void image_layer_free(ImageLayer *layer); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageLayer, image_layer_free)

/* NULL when it is not there. Hold it before relying on it. */
ImageLayer *image_store_find_layer(ImageStore *store, const char *diff_id);

/* From now on these layers (there or not) are not dropped, until the owner is released. An owner's layers add
 * up. */
void image_store_hold(ImageStore *store, const char *owner, const char *const *diff_ids);
/* *ret_diff_ids (may be NULL): what it held. */
void image_store_release(ImageStore *store, const char *owner, char ***ret_diff_ids);

/* Makes a written image (path in the ingest directory, open as fd) the layer: synced, mode 0444, renamed.
 * On failure the file is removed. */
gboolean image_store_add_layer(ImageStore *store, const char *diff_id, const char *path, int fd,
                               GError **error);

/* Deletes those of the layers (NULL: of all) that neither an image nor a holder has. */
void image_store_drop_unused(ImageStore *store, const char *const *diff_ids);

/* A path in the ingest directory for a name made of digests and the like. */
char *image_store_ingest_path(ImageStore *store, const char *name);
/* A new private file there; the path is the caller's to free and the file the caller's to remove. */
gboolean image_store_ingest_file(ImageStore *store, char **ret_path, int *ret_fd, GError **error);
/* Removes what has lain in the ingest directory for hours; call while nothing works there. */
void image_store_tidy_ingest(ImageStore *store);

/* Images */

typedef struct {
    char *id;
    char *config_json;
    guint64 size_bytes;
    gint64 pulled_at_ns;
    char **diff_ids; /* lowest first */
    char **tags;
    char **digests;
} StoredImage;
void stored_image_free(StoredImage *image); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StoredImage, stored_image_free)

/* All of them; elements are StoredImage. */
gboolean image_store_images(ImageStore *store, GPtrArray **ret_images, GError **error);
/* Adds the image, or to an image that is there its tags and digests; they leave other images that had them.
 */
gboolean image_store_put_image(ImageStore *store, const StoredImage *image, GError **error);
/* Its rows only: the layers go with image_store_drop_unused(). */
gboolean image_store_remove_image(ImageStore *store, const char *id, GError **error);

/* What layers, configurations and the database occupy. */
void image_store_usage(ImageStore *store, guint64 *ret_bytes, guint64 *ret_inodes);
