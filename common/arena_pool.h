/* SPDX-License-Identifier: Apache-2.0 */
/* Arenas that are used again, one call after the other, with the memory of the last one. Any thread. */
#pragma once

#include "common/arena.h"

typedef struct ArenaPool ArenaPool;

/* At most n_kept arenas wait, each with at most keep_bytes of memory. */
ArenaPool *arena_pool_new(guint n_kept, gsize keep_bytes);
void arena_pool_free(ArenaPool *pool); /* takes NULL; arenas that were taken are no longer the pool's */

Arena *arena_pool_take(ArenaPool *pool);
/* Resets it: what it held is released by this thread. */
void arena_pool_give(ArenaPool *pool, Arena *arena);
