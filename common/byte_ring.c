/* SPDX-License-Identifier: Apache-2.0 */
#include "common/byte_ring.h"

#include <string.h>

enum { KEPT_BYTES = 4 << 10 }; /* memory that is kept however few bytes wait */

void byte_ring_init(ByteRing *ring, gsize limit)
{
    *ring = (ByteRing){.limit = limit};
}

void byte_ring_clear(ByteRing *ring)
{
    g_free(ring->bytes);
    byte_ring_init(ring, ring->limit);
}

gsize byte_ring_room(const ByteRing *ring)
{
    return ring->limit - ring->length;
}

gsize byte_ring_peek(const ByteRing *ring, gsize offset, const guint8 **ret_bytes)
{
    gsize at;

    if (offset >= ring->length)
        return 0;
    at = (ring->start + offset) & (ring->capacity - 1);
    *ret_bytes = ring->bytes + at;
    return MIN(ring->length - offset, ring->capacity - at);
}

/* Copies bytes without using them up. */
static void ring_copy(const ByteRing *ring, guint8 *buffer, gsize length)
{
    const guint8 *part = NULL;

    for (gsize at = 0; at < length;) {
        gsize n = MIN(byte_ring_peek(ring, at, &part), length - at);

        memcpy(buffer + at, part, n);
        at += n;
    }
}

static void ring_resize(ByteRing *ring, gsize capacity)
{
    guint8 *bytes = g_malloc(capacity);

    ring_copy(ring, bytes, ring->length);
    g_free(ring->bytes);
    ring->bytes = bytes;
    ring->capacity = capacity;
    ring->start = 0;
}

gboolean byte_ring_push(ByteRing *ring, const void *bytes, gsize length)
{
    gsize capacity = MAX(ring->capacity, (gsize)KEPT_BYTES);
    gsize end;
    gsize first;

    if (length > byte_ring_room(ring))
        return FALSE;
    if (length == 0)
        return TRUE;
    while (capacity < ring->length + length)
        capacity *= 2;
    if (capacity != ring->capacity)
        ring_resize(ring, capacity);
    end = (ring->start + ring->length) & (ring->capacity - 1);
    first = MIN(length, ring->capacity - end);
    memcpy(ring->bytes + end, bytes, first);
    memcpy(ring->bytes, (const guint8 *)bytes + first, length - first);
    ring->length += length;
    return TRUE;
}

/* Memory is given back when seven eighths of it are unused. Half of what remains is unused then, so that the
 * next bytes do not make the ring grow again at once. */
static void ring_shrink(ByteRing *ring)
{
    gsize capacity = ring->capacity;

    while (capacity > KEPT_BYTES && capacity / 4 >= ring->length)
        capacity /= 2;
    ring_resize(ring, capacity);
}

void byte_ring_skip(ByteRing *ring, gsize length)
{
    g_assert(length <= ring->length);
    if (length == 0)
        return;
    ring->start = (ring->start + length) & (ring->capacity - 1);
    ring->length -= length;
    if (ring->capacity > KEPT_BYTES && ring->length <= ring->capacity / 8)
        ring_shrink(ring);
}

gsize byte_ring_take(ByteRing *ring, void *buffer, gsize room)
{
    gsize length = MIN(room, ring->length);

    ring_copy(ring, buffer, length);
    byte_ring_skip(ring, length);
    return length;
}
