/* SPDX-License-Identifier: Apache-2.0 */
/* One pull: from a reference to layers in the store and the image that they make, which the caller records.
 *
 * Resolve, choose the platform, get the configuration, then the layers on a few threads: each is downloaded
 * into the ingest directory, verified, and turned into its EROFS file while others download. What of a blob
 * has arrived stays there for the next attempt. The image's layers are held in the store under `holder`
 * before they are looked for, until the caller releases it.
 */
#pragma once

#include "image-service/content/reference.h"
#include "image-service/layer_jobs.h"

typedef struct {
    const ImageServiceConfig *config;
    ImageStore *store;
    LayerJobs *jobs;
    const char *holder;
} PullContext;

/* Asked when the reference is resolved: TRUE when that manifest's image is there already. Sets *ret_id. */
typedef gboolean (*PullKnownFunc)(const char *digest, char **ret_id, gpointer data);

/* *ret_digest: what the reference names now ("sha256:…" of index or manifest). Then either *ret_known_id is
 * the image that known() had, or *ret_image the new one without names. */
gboolean pull_image(const PullContext *context, const Reference *reference, const RegistryAuth *auth,
                    const Deadline *deadline, PullKnownFunc known, gpointer known_data,
                    ImageProgressFunc progress, gpointer progress_data, char **ret_digest,
                    char **ret_known_id, StoredImage **ret_image, GError **error);
