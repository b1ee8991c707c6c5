/* SPDX-License-Identifier: Apache-2.0 */
/* The images of the node in memory, by id and by name. Not thread-safe: the caller's lock is held around each
 * call. */
#pragma once

#include "image-service/image_service.h"

typedef struct ImageTable ImageTable;

ImageTable *image_table_new(void);
void image_table_free(ImageTable *table); /* takes NULL */

/* Adds the image, or puts it in the place of the one of its id; it takes its names from other images. The
 * table takes a reference of its own. */
void image_table_put(ImageTable *table, Image *image);
void image_table_remove(ImageTable *table, const Image *image);

/* Return: the image, borrowed, or NULL. */
Image *image_table_by_id(const ImageTable *table, const char *id);
Image *image_table_by_name(const ImageTable *table, const char *name);
/* *ret_image (borrowed) is NULL when none begins so. Errors: INVALID_ARGUMENT when several do. */
gboolean image_table_by_prefix(const ImageTable *table, const char *prefix, Image **ret_image,
                               GError **error);
/* Elements are Image, with references of their own. */
GPtrArray *image_table_list(const ImageTable *table);
