/* SPDX-License-Identifier: Apache-2.0 */
/* One pull: from a reference to layers in the store and the image that they make, which the caller records.
 *
 * The registry is asked for every reference, under the credentials of the request, before anything that is in
 * the store counts; layers are taken from the store as layer_origins.h says.
 *
 * It resolves the reference, chooses the platform, gets the configuration, and then the layers on a few
 * threads: each is downloaded into the ingest directory, verified, and read while others download; from the
 * lowest up they are put on top of each other. What of a blob has arrived stays there for the next attempt.
 * The image's layers are held in the store under `holder` before they are looked for, until the caller
 * releases it.
 */
#pragma once

#include "image-service/content/reference.h"
#include "image-service/layer_jobs.h"
#include "image-service/layer_origins.h"

typedef struct {
    const ImageServiceConfig *config;
    ImageStore *store;
    LayerJobs *jobs;
    LayerOrigins *origins;
    const char *holder;
} PullContext;

/* Called when the reference is resolved. Return: whether that manifest's image is there already, from the
 * same registry; then *ret_id is its id, and it counts once the registry has confirmed the manifest. */
typedef gboolean (*PullKnownFunc)(const char *digest, char **ret_id, gpointer data);

typedef struct {
    const Reference *reference;
    const RegistryAuth *auth; /* NULL: none */
    PullKnownFunc known;
    gpointer known_data;
    ImageProgressFunc progress; /* NULL: none */
    gpointer progress_data;
} PullRequest;

typedef struct {
    char *digest;       /* what the reference names now: "sha256:…" of index or manifest */
    char *known_id;     /* the image that known() had; or else: */
    StoredImage *image; /* the new one, without names */
} PullResult;
void pull_result_clear(PullResult *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PullResult, pull_result_clear)

gboolean pull_image(const PullContext *context, const PullRequest *request, const Deadline *deadline,
                    PullResult *ret_result, GError **error);
