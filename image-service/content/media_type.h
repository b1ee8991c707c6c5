/* SPDX-License-Identifier: Apache-2.0 */
/* The media types of manifests, configurations and layers: those of the OCI image specification 1.1 and of
 * Docker, older ones of Docker included.
 *
 * A media type is compared without its parameters and without regard to case. It says what something is
 * meant to be; the content decides, and digests are checked whatever it says.
 */
#pragma once

#include <glib.h>

#define MEDIA_TYPE_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_TYPE_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_TYPE_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"

typedef enum { DOCUMENT_UNKNOWN, DOCUMENT_INDEX, DOCUMENT_IMAGE, DOCUMENT_SCHEMA_1 } DocumentType;
/* media_type may be NULL. */
DocumentType media_type_document(const char *media_type);

typedef enum { LAYER_ANY, LAYER_TAR, LAYER_TAR_GZIP, LAYER_TAR_ZSTD } LayerFormat;
/* *ret_format is LAYER_ANY where the type does not name a compression; media_type may be NULL.
 * Errors: UNIMPLEMENTED for what cannot be a layer, encrypted layers among them. */
gboolean media_type_layer(const char *media_type, LayerFormat *ret_format, GError **error);

/* Errors: UNIMPLEMENTED when the configuration is one of another artifact (a chart, a signature); media_type
 * may be NULL. */
gboolean media_type_check_config(const char *media_type, GError **error);
