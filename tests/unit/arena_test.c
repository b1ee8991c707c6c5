/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena_pool.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/harness.h"

static void memory_is_zeroed_and_aligned(void)
{
    g_autoptr(Arena) arena = arena_new();

    for (gsize size = 0; size < 3000; size += 7) {
        guint8 *block = arena_alloc(arena, size);

        CU_ASSERT_EQUAL((uintptr_t)block % _Alignof(max_align_t), 0);
        for (gsize i = 0; i < size; i++)
            if (block[i] != 0)
                CU_FAIL("not zeroed");
        memset(block, 0xff, size);
    }
}

static void blocks_do_not_overlap(void)
{
    g_autoptr(Arena) arena = arena_new();
    guint8 *blocks[200];

    /* Larger than a chunk now and then, so that both kinds mix. */
    for (gsize i = 0; i < G_N_ELEMENTS(blocks); i++) {
        blocks[i] = arena_alloc(arena, i * 50 + 1);
        memset(blocks[i], (int)i, i * 50 + 1);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(blocks); i++) {
        CU_ASSERT_EQUAL(blocks[i][0], i);
        CU_ASSERT_EQUAL(blocks[i][i * 50], i);
    }
}

static void strings_are_copied_and_null_is_empty(void)
{
    g_autoptr(Arena) arena = arena_new();
    char text[] = "text";
    char *copy = arena_strdup(arena, text);

    text[0] = 'n';
    CU_ASSERT_STRING_EQUAL(copy, "text");
    CU_ASSERT_STRING_EQUAL(arena_strdup(arena, NULL), "");
    CU_ASSERT_STRING_EQUAL(arena_strdup_utf8(arena, NULL), "");
    CU_ASSERT_STRING_EQUAL(arena_printf(arena, "%s-%d", "a", 1), "a-1");
}

static void invalid_utf8_is_replaced(void)
{
    g_autoptr(Arena) arena = arena_new();

    CU_ASSERT_STRING_EQUAL(arena_strdup_utf8(arena, "a\xff"
                                                    "b"),
                           "a\xef\xbf\xbd"
                           "b");
    CU_ASSERT_STRING_EQUAL(arena_strdup_utf8(arena, "\xc3\xa9"), "\xc3\xa9");
}

static void protobuf_c_can_allocate_from_it(void)
{
    g_autoptr(Arena) arena = arena_new();
    ProtobufCAllocator *allocator = arena_allocator(arena);
    char *block = allocator->alloc(allocator->allocator_data, 10);

    CU_ASSERT_PTR_NOT_NULL_FATAL(block);
    block[9] = 1;
    allocator->free(allocator->allocator_data, block);
    CU_ASSERT_EQUAL(block[9], 1);
}

static void count_released(gpointer counter)
{
    ++*(guint *)counter;
}

static void what_is_held_is_released_once(void)
{
    Arena *arena = arena_new();
    guint first = 0;
    guint second = 0;

    arena_hold(arena, &first, count_released);
    arena_reset(arena, 0);
    CU_ASSERT_EQUAL(first, 1);
    arena_hold(arena, &second, count_released);
    arena_hold(arena, &second, count_released);
    CU_ASSERT_EQUAL(second, 0);
    arena_free(arena);
    CU_ASSERT_EQUAL(first, 1);
    CU_ASSERT_EQUAL(second, 2);
}

/* Small and large blocks, all of them written to. */
static void fill(Arena *arena, guint8 byte)
{
    for (gsize i = 0; i < 300; i++) {
        guint8 *block = arena_alloc(arena, i * 40 + 1);

        for (gsize j = 0; j < i * 40 + 1; j += 40)
            if (block[j] != 0)
                CU_FAIL("not zeroed");
        memset(block, byte, i * 40 + 1);
    }
}

static void memory_is_used_again(void)
{
    static const gsize keep[] = {0, 5000, 1 << 20, 64 << 20};

    for (gsize i = 0; i < G_N_ELEMENTS(keep); i++) {
        g_autoptr(Arena) arena = arena_new();
        gpointer first;
        gpointer second;

        fill(arena, 0xff);
        arena_reset(arena, keep[i]);
        fill(arena, 0xee);
        arena_reset(arena, keep[i]);
        first = arena_alloc(arena, 100);
        arena_reset(arena, keep[i]);
        second = arena_alloc(arena, 100);
        if (keep[i] >= 1 << 20)
            CU_ASSERT_PTR_EQUAL(first, second);
    }
}

static void the_last_owner_frees_the_memory(void)
{
    ArenaPool *pool = arena_pool_new(1, 1 << 20);
    Arena *arena = arena_pool_take(pool);
    guint released = 0;
    guint8 *block = arena_alloc_raw(arena, 5000);

    memset(block, 7, 5000);
    arena_hold(arena, &released, count_released);
    CU_ASSERT_FALSE(arena_is_shared(arena));
    CU_ASSERT_PTR_EQUAL(arena_ref(arena), arena);
    CU_ASSERT_TRUE(arena_is_shared(arena));
    arena_pool_give(pool, arena);
    CU_ASSERT_EQUAL(released, 1);
    arena_pool_free(pool);
    CU_ASSERT_EQUAL(block[4999], 7);
    CU_ASSERT_FALSE(arena_is_shared(arena));
    arena_free(arena);
    CU_ASSERT_EQUAL(released, 1);
}

static void it_tells_its_own_memory(void)
{
    g_autoptr(Arena) arena = arena_new();
    guint8 other[16] = {0};
    guint8 *small = arena_alloc(arena, 64);
    guint8 *large = arena_alloc(arena, 300000);

    CU_ASSERT_EQUAL(arena_bytes_from(arena, other), 0);
    CU_ASSERT_EQUAL(arena_bytes_from(arena, small), 64);
    CU_ASSERT_EQUAL(arena_bytes_from(arena, small + 63), 1);
    CU_ASSERT_EQUAL(arena_bytes_from(arena, large + 100000), 200000);
    CU_ASSERT_EQUAL(arena_bytes_from(arena, large + 300000), 0);
}

static void a_pool_keeps_so_many(void)
{
    ArenaPool *pool = arena_pool_new(1, 1 << 20);
    Arena *one = arena_pool_take(pool);
    Arena *two = arena_pool_take(pool);
    guint released = 0;

    CU_ASSERT_PTR_NOT_EQUAL(one, two);
    arena_hold(two, &released, count_released);
    arena_pool_give(pool, one);
    arena_pool_give(pool, two);
    CU_ASSERT_EQUAL(released, 1);
    CU_ASSERT_PTR_EQUAL(arena_pool_take(pool), one);
    arena_free(one);
    arena_pool_free(pool);
}

static void freeing_nothing_is_fine(void)
{
    arena_free(NULL);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"memory is zeroed and aligned", memory_is_zeroed_and_aligned},
        {"blocks do not overlap", blocks_do_not_overlap},
        {"strings are copied and NULL is empty", strings_are_copied_and_null_is_empty},
        {"invalid UTF-8 is replaced", invalid_utf8_is_replaced},
        {"protobuf-c can allocate from it", protobuf_c_can_allocate_from_it},
        {"a held object is released once, by a reset or by the end of the arena",
         what_is_held_is_released_once},
        {"memory that a reset has kept is used again, zeroed", memory_is_used_again},
        {"the last owner frees the memory; what is held is released by the first",
         the_last_owner_frees_the_memory},
        {"an arena tells its own memory from other memory", it_tells_its_own_memory},
        {"a pool keeps at most the number of arenas that it was made with", a_pool_keeps_so_many},
        {"arena_free() accepts NULL", freeing_nothing_is_fine},
    };

    return test_main_args("arena", cases, G_N_ELEMENTS(cases), argc, argv);
}
