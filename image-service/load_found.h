/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of load.c: what the readers of the two formats (load_oci.c, load_docker.c) find in an archive, and
 * the step that takes it into the store (load.c). */
#pragma once

#include "image-service/archive_files.h"
#include "image-service/content/manifest.h"
#include "image-service/pull.h"

enum { LOAD_MAX_IMAGES = 256 };

typedef struct {
    const PullContext *context;
    ArchiveFiles *files;
    const Deadline *deadline;
    Platform platform;
    GPtrArray *images;      /* StoredImage: the result */
    GHashTable *layer_keys; /* of the layers so far, whose sizes are in unpacked_bytes */
    guint64 unpacked_bytes;
} Load;

typedef struct {
    char *name;       /* in the archive */
    char *media_type; /* NULL: not known */
    char *digest;     /* NULL: only the diff id tells (docker save) */
} LayerFile;

/* One image as it was found: where its parts are in the archive. */
typedef struct {
    char *config_name;
    char *config_digest;        /* NULL: not known (docker save) */
    gboolean platform_is_known; /* the index named it */
    GPtrArray *layers;          /* LayerFile */
    char **names;               /* references, not yet checked */
} FoundImage;
FoundImage *found_image_new(void);
void found_image_free(FoundImage *found); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FoundImage, found_image_free)
/* Takes name; copies the others, which may be NULL. */
void found_image_add_layer(FoundImage *found, char *name, const char *media_type, const char *digest);

/* Takes one image into the store and adds it to load->images. */
gboolean load_found(Load *load, const FoundImage *found, GError **error);

/* Each reads all images of its format. */
gboolean load_oci(Load *load, GError **error);
gboolean load_docker(Load *load, GError **error);
