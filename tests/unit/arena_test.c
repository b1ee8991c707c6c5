#include "common/arena.h"

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
        {"freeing nothing is fine", freeing_nothing_is_fine},
    };

    return test_main_args("arena", cases, G_N_ELEMENTS(cases), argc, argv);
}
