/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests and indexes: JSON from a registry or an archive, checked once, here.
 *
 * Implements the OCI image specification 1.1 and Docker's image manifest version 2, schema 2. Every digest,
 * size and count is checked strictly; what carries no meaning for a pull (schemaVersion, unknown fields and
 * media types of descriptors, nulls, empty platforms) is read as leniently as containerd does. A text that
 * could be read both as an index and as a manifest is refused.
 *
 * Errors: INVALID_ARGUMENT for JSON that is none of these, UNIMPLEMENTED for kinds that are known and not
 * supported (schema 1, encrypted layers, other artifacts), NOT_FOUND when an index has nothing for the
 * platform, RESOURCE_EXHAUSTED for more layers than MANIFEST_MAX_LAYERS.
 */
#pragma once

#include <glib.h>

#include "image-service/content/image_config.h"
#include "image-service/content/media_type.h"

enum {
    MANIFEST_MAX_BYTES = 4 << 20, /* of a manifest or index: what the distribution specification promises */
    MANIFEST_MAX_LAYERS = 500,
};

/* A piece of content by its digest. */
typedef struct {
    char *media_type;           /* NULL: not known */
    char *digest;               /* valid by digest_is_valid() */
    guint64 size_bytes;         /* 0: not known (only for a reference by digest) */
    gboolean platform_is_known; /* the entry of an index that it was taken from named the platform */
} Descriptor;
Descriptor *descriptor_new(const char *media_type, const char *digest, guint64 size_bytes);
Descriptor *descriptor_copy(const Descriptor *descriptor);
void descriptor_free(Descriptor *descriptor); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Descriptor, descriptor_free)

typedef enum { MANIFEST_KIND_IMAGE, MANIFEST_KIND_INDEX } ManifestKind;

/* Tells an index from an image manifest by the text itself and by the media type that came with it (NULL:
 * none), which must agree. */
gboolean manifest_kind(const char *data, gsize length, const char *media_type, ManifestKind *ret_kind,
                       GError **error);

/* Chooses the best entry of an index for linux on that platform. The entry may be an index again: callers
 * bound the depth. Return: a new descriptor, or NULL with the error set. */
Descriptor *manifest_index_choose(const char *data, gsize length, const Platform *platform, GError **error);

typedef struct {
    Descriptor *config;
    GPtrArray *layers; /* Descriptor, lowest first; their media types pass media_type_layer(); may be empty */
} Manifest;
gboolean manifest_parse(const char *data, gsize length, Manifest **ret_manifest, GError **error);
void manifest_free(Manifest *manifest); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Manifest, manifest_free)
