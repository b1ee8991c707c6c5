/* SPDX-License-Identifier: Apache-2.0 */
/* What of images is on disk: the rows of image_database.h, one EROFS file per layer, and files in progress.
 *
 *     root/lock  root/images.db  root/layers/sha256/<hex>.erofs  root/ingest/…
 *
 * A layer is kept under its key: its diff id when it is self-contained (layers/layer.h), so that all images
 * that have it share one file, otherwise its chain id, because the file depends on the layers below.
 *
 * A layer has a row only once its file is durable, an image only once all its layers have rows. Opening
 * repairs: files in progress and files without a row are removed, and images that miss a layer are dropped
 * with a warning. Layers that no image has stay until image_store_drop_unused() finds that no owner holds
 * them.
 *
 * Thread-safe. Two locks: one for the fields, and one that changes (database, renames, unlinks) take turns
 * with; neither is held while a layer is downloaded, unpacked or synced.
 */
#pragma once

#include "image-service/image_database.h"
#include "image-service/image_service.h"

typedef struct ImageStore ImageStore;

/* layers_gid: the group that may read the layers; 0: root alone. Errors: UNAVAILABLE while another process
 * has the root open. */
ImageStore *image_store_open(const char *root, gid_t layers_gid, GError **error);
void image_store_close(ImageStore *store); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageStore, image_store_close)

/* Layers */

void image_layer_free(ImageLayer *layer); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageLayer, image_layer_free)

/* A layer in its place in an image. */
typedef struct {
    const char *diff_id;
    const char *chain_id;
} LayerPlace;

/* Return: the layer of that key, or NULL. Hold it before relying on it. */
ImageLayer *image_store_find_layer(ImageStore *store, const char *key);
/* Return: the layer that serves in that place, or NULL. Layers that an older version made do not, so that a
 * pull makes them anew. */
ImageLayer *image_store_find_layer_for(ImageStore *store, const LayerPlace *place);
/* Return: whether all are there and of the current format. */
gboolean image_store_has_current(ImageStore *store, const char *const *keys);

/* From now on these layers, there or not, are not dropped until the owner is released. The layers of an owner
 * add up. */
void image_store_hold(ImageStore *store, const char *owner, const char *const *keys);
/* *ret_keys (may be NULL): what the owner held. */
void image_store_release(ImageStore *store, const char *owner, char ***ret_keys);

/* Makes a written image (path in the ingest directory, open as fd) the layer of that place: synced, mode
 * 0444, renamed. On failure the file is removed. */
gboolean image_store_add_layer(ImageStore *store, const LayerPlace *place, gboolean is_self_contained,
                               const char *path, int fd, GError **error);

/* Deletes those of the layers (NULL: of all) that neither an image nor an owner has. */
void image_store_drop_unused(ImageStore *store, const char *const *keys);

/* A path in the ingest directory for a name made of digests and the like. */
char *image_store_ingest_path(ImageStore *store, const char *name);
/* A new private file there; the path is the caller's to free and the file the caller's to remove. */
gboolean image_store_ingest_file(ImageStore *store, char **ret_path, int *ret_fd, GError **error);
/* Removes what has lain in the ingest directory for hours; called while no pull works there. */
void image_store_tidy_ingest(ImageStore *store);

/* Images */

/* All of them; elements are StoredImage. */
gboolean image_store_images(ImageStore *store, GPtrArray **ret_images, GError **error);
/* As image_database_put_image(). */
gboolean image_store_put_image(ImageStore *store, const StoredImage *image, GError **error);
/* Removes its rows only: the layers go with image_store_drop_unused(). */
gboolean image_store_remove_image(ImageStore *store, const char *id, GError **error);

/* What layers, configurations and the database occupy. */
void image_store_usage(ImageStore *store, guint64 *ret_bytes, guint64 *ret_inodes);
