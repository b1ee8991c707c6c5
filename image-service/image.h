/* SPDX-License-Identifier: Apache-2.0 */
/* Image objects: what the store has, with its configuration decoded. image_service.h has the structure. */
#pragma once

#include "image-service/image_store.h"

/* layers: ImageLayer, one for each diff id. INVALID_ARGUMENT when the configuration does not parse. */
Image *image_new(const StoredImage *stored, GPtrArray *layers, GError **error);
/* The same image under other names (sorted copies are made). */
Image *image_renamed(const Image *image, char **tags, char **digests);
