/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

/* Chunks grow with the arena, so that a large answer does not need a thousand of them. */
enum { ARENA_CHUNK_BYTES = 4096, ARENA_CHUNK_MAX_BYTES = 64 * 1024 };

typedef struct ArenaChunk ArenaChunk;
struct ArenaChunk {
    ArenaChunk *next;
    gsize used;
    gsize size;
    max_align_t data[];
};

typedef struct ArenaHold ArenaHold;
struct ArenaHold {
    ArenaHold *next;
    gpointer object;
    GDestroyNotify release;
};

struct Arena {
    gatomicrefcount owners;
    ArenaChunk *chunks; /* the first one is being filled */
    ArenaChunk *spare;  /* kept by a reset */
    gsize chunk_bytes;  /* of the next one */
    ArenaHold *holds;
    ProtobufCAllocator allocator;
};

static void *allocator_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void allocator_free(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

Arena *arena_new(void)
{
    Arena *arena = g_new0(Arena, 1);

    g_atomic_ref_count_init(&arena->owners);
    arena->chunk_bytes = ARENA_CHUNK_BYTES;
    arena->allocator = (ProtobufCAllocator){allocator_alloc, allocator_free, arena};
    return arena;
}

static void chunks_free(ArenaChunk *chunk)
{
    ArenaChunk *next;

    for (; chunk != NULL; chunk = next) {
        next = chunk->next;
        g_free(chunk);
    }
}

Arena *arena_ref(Arena *arena)
{
    g_atomic_ref_count_inc(&arena->owners);
    return arena;
}

gboolean arena_is_shared(const Arena *arena)
{
    return !g_atomic_ref_count_compare((gatomicrefcount *)&arena->owners, 1);
}

void arena_release(Arena *arena)
{
    for (; arena->holds != NULL; arena->holds = arena->holds->next)
        arena->holds->release(arena->holds->object);
}

void arena_free(Arena *arena)
{
    if (arena == NULL || !g_atomic_ref_count_dec(&arena->owners))
        return;
    arena_release(arena);
    chunks_free(arena->chunks);
    chunks_free(arena->spare);
    g_free(arena);
}

void arena_reset(Arena *arena, gsize keep_bytes)
{
    ArenaChunk *chunk;
    gsize kept = 0;

    arena_release(arena);
    for (chunk = arena->spare; chunk != NULL; chunk = chunk->next)
        kept += chunk->size;
    while ((chunk = arena->chunks) != NULL) {
        arena->chunks = chunk->next;
        if (kept + chunk->size <= keep_bytes) {
            kept += chunk->size;
            chunk->next = arena->spare;
            arena->spare = chunk;
        } else {
            g_free(chunk);
        }
    }
    arena->chunk_bytes = ARENA_CHUNK_BYTES;
}

void arena_hold(Arena *arena, gpointer object, GDestroyNotify release)
{
    ArenaHold *hold = arena_new0(arena, ArenaHold, 1);

    *hold = (ArenaHold){arena->holds, object, release};
    arena->holds = hold;
}

/* Return: a chunk with at least that much room: the first spare one if it has it. */
static ArenaChunk *chunk_new(Arena *arena, gsize capacity)
{
    ArenaChunk *chunk = arena->spare;

    if (chunk != NULL && chunk->size >= capacity) {
        arena->spare = chunk->next;
    } else {
        chunk = g_malloc(sizeof(ArenaChunk) + capacity);
        chunk->size = capacity;
    }
    chunk->used = 0;
    return chunk;
}

void *arena_alloc_raw(Arena *arena, gsize size)
{
    ArenaChunk *chunk = arena->chunks;
    void *result;

    g_assert(size <= G_MAXSIZE - sizeof(ArenaChunk) - sizeof(max_align_t));
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (chunk == NULL || chunk->size - chunk->used < size) {
        gsize usual = arena->chunk_bytes;
        gsize capacity = MAX(size, usual);

        chunk = chunk_new(arena, capacity);
        /* A large block goes behind the chunk that is being filled, whose rest would be wasted otherwise. */
        if (arena->chunks != NULL && capacity > usual) {
            chunk->next = arena->chunks->next;
            arena->chunks->next = chunk;
        } else {
            chunk->next = arena->chunks;
            arena->chunks = chunk;
            arena->chunk_bytes = MIN(2 * usual, (gsize)ARENA_CHUNK_MAX_BYTES);
        }
    }
    result = (char *)chunk->data + chunk->used;
    chunk->used += size;
    return result;
}

void *arena_alloc(Arena *arena, gsize size)
{
    return memset(arena_alloc_raw(arena, size), 0, size);
}

gsize arena_bytes_from(const Arena *arena, gconstpointer data)
{
    for (const ArenaChunk *chunk = arena->chunks; chunk != NULL; chunk = chunk->next) {
        const char *end = (const char *)chunk->data + chunk->used;

        if ((const char *)data >= (const char *)chunk->data && (const char *)data < end)
            return (gsize)(end - (const char *)data);
    }
    return 0;
}

char *arena_strdup(Arena *arena, const char *string)
{
    gsize size = string == NULL ? 1 : strlen(string) + 1;
    char *copy = arena_alloc(arena, size);

    if (string != NULL)
        memcpy(copy, string, size);
    return copy;
}

char *arena_strdup_utf8(Arena *arena, const char *string)
{
    g_autofree char *valid = NULL;

    if (string == NULL || g_utf8_validate(string, -1, NULL))
        return arena_strdup(arena, string);
    valid = g_utf8_make_valid(string, -1);
    return arena_strdup(arena, valid);
}

char *arena_printf(Arena *arena, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    return arena_strdup(arena, text);
}

ProtobufCAllocator *arena_allocator(Arena *arena)
{
    return &arena->allocator;
}
