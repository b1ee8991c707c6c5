/* SPDX-License-Identifier: Apache-2.0 */
/* Getting layers into the store, each only once however many pulls want it.
 *
 * The first caller that wants a layer does the work with its own source and credentials; the others wait,
 * each up to its own deadline, and when the first fails or gives up the next one takes over. Thread-safe.
 */
#pragma once

#include "image-service/image_store.h"
#include "image-service/layers/layer.h"

typedef struct LayerJobs LayerJobs;

/* The store is borrowed. */
LayerJobs *layer_jobs_new(ImageStore *store);
/* After the last call has returned; takes NULL. */
void layer_jobs_free(LayerJobs *jobs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerJobs, layer_jobs_free)

/* How the one that does the work gets the blob: verified, open for reading at its start. */
typedef struct {
    gboolean (*fetch)(gpointer data, const Deadline *deadline, int *ret_fd, GError **error);
    LayerProgressFunc unpacking; /* NULL: not told */
    gpointer data;
} LayerSource;

/* When it returns TRUE the layer is in the store; the caller holds it (image_store_hold) before. *ret_layer
 * is the layer, *ret_existed whether it was there already. */
gboolean layer_jobs_ensure(LayerJobs *jobs, const LayerSpec *spec, const LayerSource *source,
                           const Deadline *deadline, ImageLayer **ret_layer, gboolean *ret_existed,
                           GError **error);
