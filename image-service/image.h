/* SPDX-License-Identifier: Apache-2.0 */
/* Image objects: what the store has, with the configuration decoded. image_service.h has the structure. */
#pragma once

#include "image-service/image_store.h"

/* layers: ImageLayer, lowest first; shared. Errors: INVALID_ARGUMENT when the configuration does not parse.
 */
Image *image_new(const StoredImage *stored, GPtrArray *layers, GError **error);
/* Return: a new image that differs only in its names, of which sorted copies are made. */
Image *image_renamed(const Image *image, char **tags, char **digests);
