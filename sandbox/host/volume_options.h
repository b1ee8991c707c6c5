/* SPDX-License-Identifier: Apache-2.0 */
/* The options of volumes that a guest and the file server of its volumes agree on once, when the guest mounts
 * them. A pod keeps those that it was created with. Threads: any. */
#pragma once

/* guest.volume_cache, what the guest keeps in memory: the default. */
#define VOLUME_CACHE_DEFAULT "auto"
/* Return: virtiofsd's word for the mode, static; NULL: there is no such mode. */
const char *volume_cache_word(const char *mode);

/* guest.volume_locks of a pod that was created by a daemon which kept no record of it; else a gboolean. */
enum { VOLUME_LOCKS_UNKNOWN = -1 };
