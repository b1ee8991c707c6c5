/* SPDX-License-Identifier: Apache-2.0 */
/* The configured network, without reading and parsing the directory each time.
 *
 * The loaded network is returned again as long as the directory and its files have the same names, inodes,
 * sizes and times. The next call sees a change. Any thread.
 */
#pragma once

#include "cni-bridge/cni.h"

typedef struct CniCache CniCache;

CniCache *cni_cache_new(const char *config_dir, const char *const *plugin_dirs);
void cni_cache_free(CniCache *cache); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniCache, cni_cache_free)

/* Return: a reference, or NULL with the error of cni_network_load(), which is not kept. */
CniNetwork *cni_cache_get(CniCache *cache, GError **error);
