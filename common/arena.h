/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a request: everything that one call allocates, freed at once.
 *
 * An object that an answer borrows from can be held until then, so that nothing is copied. A reused arena has
 * memory already, and getting it from the kernel is most of the cost of a large answer.
 *
 * An Arena also is a protobuf-c allocator, so a request decoded into it and a response built in it need no
 * freeing. Not thread-safe, but for arena_ref() and arena_free(): one arena belongs to one call, which one
 * worker handles at a time.
 */
#pragma once

#include <glib.h>
#include <protobuf-c/protobuf-c.h>

typedef struct Arena Arena;

Arena *arena_new(void);
/* Another owner of the memory, which may outlive the call: bytes that are still being sent. */
Arena *arena_ref(Arena *arena);
gboolean arena_is_shared(const Arena *arena);
/* The last owner frees the memory. Takes NULL. */
void arena_free(Arena *arena);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Arena, arena_free)

/* Frees what was allocated and held, and keeps chunks of at most keep_bytes for the next allocations. */
void arena_reset(Arena *arena, gsize keep_bytes);
/* Calls release(object) at the end of the arena, at its reset, or at arena_release(). */
void arena_hold(Arena *arena, gpointer object, GDestroyNotify release);
void arena_release(Arena *arena);

/* Zeroed and aligned for any type; never NULL. */
void *arena_alloc(Arena *arena, gsize size);
/* The same, but the bytes are undefined: for a block that is written as a whole. */
void *arena_alloc_raw(Arena *arena, gsize size);
/* Return: how many bytes of the arena's memory there are from data on, in one piece; 0: data points
 * elsewhere, to what is only held, for example. */
gsize arena_bytes_from(const Arena *arena, gconstpointer data);
#define arena_new0(arena, Type, count) ((Type *)arena_alloc(arena, sizeof(Type) * (gsize)(count)))

/* Copies; NULL becomes "", because protobuf-c strings are never NULL. */
char *arena_strdup(Arena *arena, const char *string);
/* The same with invalid UTF-8 replaced, which a Go client could not decode. */
char *arena_strdup_utf8(Arena *arena, const char *string);
char *arena_printf(Arena *arena, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Lives as long as the arena. */
ProtobufCAllocator *arena_allocator(Arena *arena);
