/* SPDX-License-Identifier: Apache-2.0 */
/* Arenas that calls use one after the other, with the memory of the former call. Any thread. */
#pragma once

#include "common/arena.h"

typedef struct ArenaPool ArenaPool;

/* Keeps at most n_kept arenas, each with at most keep_bytes of memory. */
ArenaPool *arena_pool_new(guint n_kept, gsize keep_bytes);
void arena_pool_free(ArenaPool *pool); /* takes NULL; arenas that were taken are no longer the pool's */

Arena *arena_pool_take(ArenaPool *pool);
/* Resets the arena and keeps or frees it; this thread releases what it held. */
void arena_pool_give(ArenaPool *pool, Arena *arena);
