/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena_pool.h"

struct ArenaPool {
    GMutex lock;
    GPtrArray *kept; /* last in, first out: its memory is in the caches */
    guint n_kept;
    gsize keep_bytes;
};

ArenaPool *arena_pool_new(guint n_kept, gsize keep_bytes)
{
    ArenaPool *pool = g_new0(ArenaPool, 1);

    g_mutex_init(&pool->lock);
    pool->kept = g_ptr_array_new_with_free_func((GDestroyNotify)arena_free);
    pool->n_kept = n_kept;
    pool->keep_bytes = keep_bytes;
    return pool;
}

void arena_pool_free(ArenaPool *pool)
{
    if (pool == NULL)
        return;
    g_ptr_array_unref(pool->kept);
    g_mutex_clear(&pool->lock);
    g_free(pool);
}

Arena *arena_pool_take(ArenaPool *pool)
{
    Arena *arena = NULL;

    g_mutex_lock(&pool->lock);
    if (pool->kept->len > 0)
        arena = g_ptr_array_steal_index_fast(pool->kept, pool->kept->len - 1);
    g_mutex_unlock(&pool->lock);
    return arena != NULL ? arena : arena_new();
}

void arena_pool_give(ArenaPool *pool, Arena *arena)
{
    arena_release(arena);
    if (arena_is_shared(arena)) { /* the last owner frees it */
        arena_free(arena);
        return;
    }
    arena_reset(arena, pool->keep_bytes);
    g_mutex_lock(&pool->lock);
    if (pool->kept->len < pool->n_kept) {
        g_ptr_array_add(pool->kept, arena);
        arena = NULL;
    }
    g_mutex_unlock(&pool->lock);
    arena_free(arena);
}
