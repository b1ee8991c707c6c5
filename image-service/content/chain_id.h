/* SPDX-License-Identifier: Apache-2.0 */
/* Chain ids: https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
 *
 * The chain id of a layer stands for the layer and all below it; that of the lowest is its diff id.
 */
#pragma once

#include <glib.h>

/* diff_ids: lowest first, ended by NULL. Return: a new vector with the chain id of each. */
char **chain_ids_of(const char *const *diff_ids);
