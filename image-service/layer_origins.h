/* SPDX-License-Identifier: Apache-2.0 */
/* Who has shown that they have a layer of the store: repositories, and the blobs that their registries serve.
 *
 * A file in the store is no consent to run it. A pull may take a layer from the store when the layer came
 * from the same repository, whose manifest the registry has just confirmed, or when the same registry
 * confirms that its blob is in the repository of the pull. Otherwise the pull downloads the layer, which
 * shows that the registry has it.
 *
 * What comes from images is known again after a restart, from their names. Blobs are not, and are downloaded
 * once more for a repository that is new on the node.
 *
 * Arguments are copied. Thread-safe; nothing here blocks.
 */
#pragma once

#include "image-service/content/reference.h"

typedef struct LayerOrigins LayerOrigins;

LayerOrigins *layer_origins_new(void);
void layer_origins_free(LayerOrigins *origins); /* takes NULL */

/* Records that the layer of that key is in the reference's repository, as this blob (NULL: not known). */
void layer_origins_add(LayerOrigins *origins, const char *key, const Reference *reference, const char *blob);

gboolean layer_origins_has_repository(LayerOrigins *origins, const char *key, const Reference *reference);
/* Return: whether the reference's registry has served the layer as this blob, for whichever repository. */
gboolean layer_origins_has_blob(LayerOrigins *origins, const char *key, const Reference *reference,
                                const char *blob);

/* Forgets the layers for which is_wanted() returns FALSE. It is called with the lock held. */
void layer_origins_prune(LayerOrigins *origins, gboolean (*is_wanted)(const char *key, gpointer data),
                         gpointer data);
