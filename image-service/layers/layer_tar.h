/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the tar of a layer: contents of files go into an EROFS image, names are collected. layer.h has the
 * rules. Any thread; one per call. */
#pragma once

#include "image-service/layers/erofs_writer.h"
#include "image-service/layers/layer.h"

/* Return: LayerName in the order of the tar, freed by the array; NULL with the error set. */
GPtrArray *layer_tar_read(const LayerFiles *files, const LayerSpec *spec, guint max_entries,
                          ErofsWriter *writer, const Deadline *deadline, GError **error);
