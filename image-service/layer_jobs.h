/* SPDX-License-Identifier: Apache-2.0 */
/* Getting layers into the store, each only once however many pulls want it.
 *
 * A layer of an image is one LayerJob, which takes two steps:
 *
 * - layer_job_read(), in any order, in any thread: downloads and reads the layer, unless another pull works
 *   on it, or the store has it and the source lets it be shared. It never waits for another layer.
 * - layer_job_finish(), from the lowest to the highest: gets the layer into the store on top of those below.
 *
 * When another pull works on the layer, layer_job_finish() waits for it, up to the deadline, and takes over
 * when it fails or gives up. A pull that waits has all layers below in the store, and one that works on a
 * layer only ever waits for layers below it, so pulls cannot wait for each other in a circle.
 *
 * LayerJobs is thread-safe. A LayerJob belongs to one thread at a time.
 */
#pragma once

#include "image-service/image_store.h"
#include "image-service/layers/layer.h"

typedef struct LayerJobs LayerJobs;

/* The store is borrowed. */
LayerJobs *layer_jobs_new(ImageStore *store);
/* Called after the last job was freed; takes NULL. */
void layer_jobs_free(LayerJobs *jobs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerJobs, layer_jobs_free)

/* Where a layer comes from. fetch() gets the blob: verified, open for reading at its start. may_share() says
 * whether the layer of that key, which is in the store, may serve as it is; it may ask the registry.
 * Otherwise the blob is fetched and verified first. have() learns that the layer is in the store with the
 * source's consent, before another job can find it. */
typedef struct {
    gboolean (*fetch)(gpointer data, const Deadline *deadline, int *ret_fd, GError **error);
    LayerProgressFunc unpacking;                                                     /* NULL: none */
    gboolean (*may_share)(gpointer data, const char *key, const Deadline *deadline); /* NULL: it may */
    void (*have)(gpointer data, const char *key);                                    /* NULL: none */
    gpointer data;
} LayerSource;

typedef struct {
    LayerPlace place; /* copied */
    LayerSpec spec;   /* its strings are borrowed */
    LayerSource source;
} LayerWanted;

typedef struct LayerJob LayerJob;

/* The caller holds the layer under its diff id and its chain id (image_store_hold) before, and until it has
 * an image with it or gives up. */
LayerJob *layer_job_new(LayerJobs *jobs, const LayerWanted *wanted);
/* Gives up what is not finished; takes NULL. */
void layer_job_free(LayerJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerJob, layer_job_free)

gboolean layer_job_read(LayerJob *job, const Deadline *deadline, GError **error);
/* Return: whether layer_job_finish() has neither to wait for another pull nor to download. */
gboolean layer_job_is_read(const LayerJob *job);
/* The memory of the names that wait for the layers below. */
guint64 layer_job_memory_bytes(const LayerJob *job);
/* Return: whether the layer of the store, which was there before or another pull brought, was shared. */
gboolean layer_job_existed(const LayerJob *job);

/* below: ImageLayer, the layers of the image below this one, lowest first. *ret_layer is the caller's. */
gboolean layer_job_finish(LayerJob *job, const GPtrArray *below, const Deadline *deadline,
                          ImageLayer **ret_layer, GError **error);
