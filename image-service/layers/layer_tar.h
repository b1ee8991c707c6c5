/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the tar of a layer: contents of files go into an EROFS image, names are collected. layer.h has the
 * rules. Any thread; one per call. */
#pragma once

#include "image-service/layers/erofs_writer.h"
#include "image-service/layers/layer.h"
#include "image-service/layers/layer_budget.h"

/* Spends the budget, in which a step has begun. Return: LayerName in the order of the tar, freed by the
 * array; NULL with the error set. */
GPtrArray *layer_tar_read(const LayerFiles *files, const LayerSpec *spec, LayerBudget *budget,
                          ErofsWriter *writer, GError **error);
