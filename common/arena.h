/* SPDX-License-Identifier: Apache-2.0 */
/* Request memory: everything that one call allocates, freed in one go.
 *
 * What an answer borrows can be held until then instead of being copied. A chunk of a reused arena is memory
 * that the kernel need not hand out anew, which is most of the cost of a large answer.
 *
 * An Arena also is a protobuf-c allocator, so a request decoded into it and a response built in it need no
 * freeing. Not thread-safe: one arena belongs to one call, which one worker handles at a time.
 */
#pragma once

#include <glib.h>
#include <protobuf-c/protobuf-c.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *arena); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Arena, arena_free)

/* Frees what was allocated and held. Chunks of keep_bytes at most stay for what is allocated next. */
void arena_reset(Arena *arena, gsize keep_bytes);
/* Calls release(object) with the end of the arena, or its reset. */
void arena_hold(Arena *arena, gpointer object, GDestroyNotify release);

/* Zeroed and aligned for any type; never NULL. */
void *arena_alloc(Arena *arena, gsize size);
#define arena_new0(arena, Type, count) ((Type *)arena_alloc(arena, sizeof(Type) * (gsize)(count)))

/* Copies; NULL becomes "", because protobuf-c strings are never NULL. */
char *arena_strdup(Arena *arena, const char *string);
/* As arena_strdup, with invalid UTF-8 replaced: what a Go client can decode. */
char *arena_strdup_utf8(Arena *arena, const char *string);
char *arena_printf(Arena *arena, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Lives as long as the arena. */
ProtobufCAllocator *arena_allocator(Arena *arena);
