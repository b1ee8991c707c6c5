/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests and indexes: JSON from a registry or an archive, checked once, here.
 *
 * Implements the OCI image specification 1.1 and Docker's image manifest version 2, schema 2
 * (application/vnd.docker.distribution.manifest.{list.,}v2+json). Every digest, size, media type and count
 * is checked; what these functions return can be trusted as to form. Errors: INVALID_ARGUMENT for JSON that
 * is none of these, UNIMPLEMENTED for kinds that are known and not supported (schema 1, encrypted layers),
 * NOT_FOUND when an index has nothing for the platform.
 */
#pragma once

#include <glib.h>

#include "image-service/content/image_config.h"

enum {
    MANIFEST_MAX_BYTES = 4 << 20, /* of a manifest or index: what the distribution specification promises */
    MANIFEST_MAX_LAYERS = 500,
};

#define MEDIA_TYPE_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_TYPE_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_TYPE_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"

/* A piece of content by its digest. */
typedef struct {
    char *media_type;   /* NULL: not known */
    char *digest;       /* valid by digest_is_valid() */
    guint64 size_bytes; /* 0: not known (only for a reference by digest) */
} Descriptor;
Descriptor *descriptor_new(const char *media_type, const char *digest, guint64 size_bytes);
Descriptor *descriptor_copy(const Descriptor *descriptor);
void descriptor_free(Descriptor *descriptor); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Descriptor, descriptor_free)

typedef enum { MANIFEST_KIND_IMAGE, MANIFEST_KIND_INDEX } ManifestKind;

/* What the bytes are, from themselves and the media type that came with them (NULL: none); a text that could
 * be read as either, or contradicts its media type, is refused. */
gboolean manifest_kind(const char *data, gsize length, const char *media_type, ManifestKind *ret_kind,
                       GError **error);

/* The best entry of an index for linux on that platform. It may be an index again: callers bound the depth.
 */
Descriptor *manifest_index_choose(const char *data, gsize length, const Platform *platform, GError **error);

typedef enum { LAYER_TAR, LAYER_TAR_GZIP, LAYER_TAR_ZSTD } LayerFormat;

typedef struct {
    Descriptor *config;
    GPtrArray *layers; /* Descriptor, lowest first; their media types pass layer_format() */
} Manifest;
gboolean manifest_parse(const char *data, gsize length, Manifest **ret_manifest, GError **error);
void manifest_free(Manifest *manifest); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Manifest, manifest_free)

/* UNIMPLEMENTED for media types that are no layer we can unpack. */
gboolean layer_format(const char *media_type, LayerFormat *ret_format, GError **error);
