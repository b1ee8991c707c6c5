/* SPDX-License-Identifier: Apache-2.0 */
/* The network as it is configured now, without reading and parsing the directory each time.
 *
 * What was loaded is handed out again as long as the directory and every file in it are what they were: name,
 * inode, size and times. A change is seen by the next call. Any thread.
 */
#pragma once

#include "cni-bridge/cni.h"

typedef struct CniCache CniCache;

CniCache *cni_cache_new(const char *config_dir, const char *const *plugin_dirs);
void cni_cache_free(CniCache *cache); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniCache, cni_cache_free)

/* As cni_network_load(); failures are not kept. */
CniNetwork *cni_cache_get(CniCache *cache, GError **error);
