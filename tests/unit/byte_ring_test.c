/* SPDX-License-Identifier: Apache-2.0 */
#include "common/byte_ring.h"

#include <string.h>

#include "tests/unit/harness.h"

/* A source of bytes, of which each can be told from its neighbours. */
static guint8 byte_at(guint64 offset)
{
    return (guint8)(offset * 7 + (offset >> 8));
}

static gboolean push_numbered(ByteRing *ring, guint64 *pushed, gsize length)
{
    g_autofree guint8 *bytes = g_malloc(MAX(length, 1));

    for (gsize i = 0; i < length; i++)
        bytes[i] = byte_at(*pushed + i);
    if (!byte_ring_push(ring, bytes, length))
        return FALSE;
    *pushed += length;
    return TRUE;
}

static gsize take_numbered(ByteRing *ring, guint64 *taken, gsize room)
{
    g_autofree guint8 *bytes = g_malloc(MAX(room, 1));
    gsize length = byte_ring_take(ring, bytes, room);
    gsize wrong = 0;

    for (gsize i = 0; i < length; i++)
        wrong += bytes[i] != byte_at(*taken + i);
    CU_ASSERT_EQUAL(wrong, 0);
    *taken += length;
    return length;
}

static void keeps_order(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    guint64 pushed = 0;
    guint64 taken = 0;
    ByteRing ring;

    byte_ring_init(&ring, 100000);
    for (int i = 0; i < 20000; i++) {
        gsize length = (gsize)g_rand_int_range(random, 0, i % 1000 < 500 ? 3000 : 1000);

        CU_ASSERT_TRUE(push_numbered(&ring, &pushed, length));
        take_numbered(&ring, &taken, (gsize)g_rand_int_range(random, 0, 2000));
        CU_ASSERT_EQUAL(ring.length, pushed - taken);
        CU_ASSERT_EQUAL(byte_ring_room(&ring), 100000 - ring.length);
        if (byte_ring_room(&ring) < 3000)
            take_numbered(&ring, &taken, 90000);
    }
    take_numbered(&ring, &taken, G_MAXINT);
    CU_ASSERT_EQUAL(taken, pushed);
    byte_ring_clear(&ring);
}

static void peeks_at_any_offset(void)
{
    guint64 pushed = 0;
    guint64 taken = 0;
    const guint8 *part = NULL;
    ByteRing ring;
    gsize n;

    byte_ring_init(&ring, 4096);
    push_numbered(&ring, &pushed, 4000);
    take_numbered(&ring, &taken, 3000);
    push_numbered(&ring, &pushed, 3000); /* wraps round the end of the memory */
    for (gsize offset = 0; offset < ring.length; offset += n) {
        n = byte_ring_peek(&ring, offset, &part);
        CU_ASSERT_TRUE_FATAL(n > 0);
        for (gsize i = 0; i < n; i++)
            CU_ASSERT_EQUAL(part[i], byte_at(taken + offset + i));
    }
    CU_ASSERT_EQUAL(byte_ring_peek(&ring, ring.length, &part), 0);
    CU_ASSERT_EQUAL(byte_ring_peek(&ring, ring.length + 1, &part), 0);
    byte_ring_clear(&ring);
    CU_ASSERT_EQUAL(byte_ring_peek(&ring, 0, &part), 0);
}

static void keeps_its_limit(void)
{
    static const guint8 bytes[1000];
    ByteRing ring;

    byte_ring_init(&ring, 1500);
    CU_ASSERT_TRUE(byte_ring_push(&ring, bytes, 1000));
    CU_ASSERT_FALSE(byte_ring_push(&ring, bytes, 501));
    CU_ASSERT_FALSE(byte_ring_push(&ring, bytes, G_MAXSIZE));
    CU_ASSERT_EQUAL(ring.length, 1000);
    CU_ASSERT_TRUE(byte_ring_push(&ring, bytes, 500));
    CU_ASSERT_EQUAL(byte_ring_room(&ring), 0);
    CU_ASSERT_TRUE(byte_ring_push(&ring, bytes, 0));
    CU_ASSERT_FALSE(byte_ring_push(&ring, bytes, 1));
    byte_ring_skip(&ring, 1);
    CU_ASSERT_TRUE(byte_ring_push(&ring, bytes, 1));
    byte_ring_clear(&ring);
    CU_ASSERT_EQUAL(byte_ring_room(&ring), 1500);
    byte_ring_clear(&ring);
}

/* The queue is never empty, as that of a slow reader. */
static void memory_follows_what_waits(void)
{
    static guint8 bytes[32 << 10];
    ByteRing ring;

    byte_ring_init(&ring, 8 << 20);
    CU_ASSERT_PTR_NULL(ring.bytes);
    CU_ASSERT_TRUE(byte_ring_push(&ring, bytes, 1));
    for (int i = 0; i < 8192; i++) {
        CU_ASSERT_TRUE_FATAL(byte_ring_push(&ring, bytes, sizeof bytes));
        CU_ASSERT_EQUAL(byte_ring_take(&ring, bytes, sizeof bytes), sizeof bytes);
        CU_ASSERT_TRUE_FATAL(ring.capacity <= 64 << 10);
    }
    while (byte_ring_push(&ring, bytes, sizeof bytes))
        CU_ASSERT_TRUE(ring.capacity <= 8 << 20);
    CU_ASSERT_EQUAL(ring.capacity, 8 << 20);
    byte_ring_skip(&ring, ring.length - 1);
    CU_ASSERT_TRUE(ring.capacity <= 4 << 10);
    byte_ring_clear(&ring);
}

int main(void)
{
    static const TestCase cases[] = {
        {"bytes leave in the order in which they came, whatever the pieces", keeps_order},
        {"bytes that wait can be read at any offset before they are used up", peeks_at_any_offset},
        {"what exceeds the limit is refused whole, until there is room again", keeps_its_limit},
        {"the memory follows the bytes that wait, not those that passed", memory_follows_what_waits},
    };

    return test_main("byte_ring", cases, G_N_ELEMENTS(cases));
}
