/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of bytes with a limit. Bytes are appended at its end and used up from its start; its memory follows
 * the number of bytes that wait, not the number that ever passed.
 *
 * Ownership: the ring is a field of its owner, who calls byte_ring_init() and byte_ring_clear(); bytes are
 * copied. Threads: those that its owner allows one at a time.
 */
#pragma once

#include <glib.h>

typedef struct {
    guint8 *bytes;
    gsize capacity; /* of bytes; at most the limit, rounded up to a power of two */
    gsize start;
    gsize length; /* the bytes that wait */
    gsize limit;
} ByteRing;

/* Begins an empty queue, which takes no memory. limit: the most bytes that may wait in it. */
void byte_ring_init(ByteRing *ring, gsize limit);
/* Frees the memory. The ring is empty afterwards and may be used again. */
void byte_ring_clear(ByteRing *ring);

/* Return: the number of bytes that can be appended. */
gsize byte_ring_room(const ByteRing *ring);
/* Appends the bytes. Return: FALSE when there is no room for all of them; none is appended then. */
gboolean byte_ring_push(ByteRing *ring, const void *bytes, gsize length);

/* Return: how many bytes are contiguous in memory from `offset` after the start on, 0 at the end of the
 * queue; *ret_bytes points at them until the ring changes. As long as no byte is used up, the number for an
 * offset never shrinks: a TLS write is repeated with at least the bytes that it failed with. */
gsize byte_ring_peek(const ByteRing *ring, gsize offset, const guint8 **ret_bytes);
/* Uses up bytes at the start. length: at most ring->length. */
void byte_ring_skip(ByteRing *ring, gsize length);
/* Moves bytes from the start to the buffer. Return: how many. */
gsize byte_ring_take(ByteRing *ring, void *buffer, gsize room);
