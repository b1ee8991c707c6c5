/* SPDX-License-Identifier: Apache-2.0 */
#include "common/ids.h"

#include <string.h>

#include "tests/unit/harness.h"

static void id_is_64_hexadecimal_digits(void)
{
    g_autofree char *id = id_new();

    CU_ASSERT_EQUAL(strlen(id), ID_LENGTH);
    CU_ASSERT_EQUAL(strspn(id, "0123456789abcdef"), ID_LENGTH);
}

static void ids_differ(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (int i = 0; i < 1000; i++)
        CU_ASSERT_TRUE(g_hash_table_add(seen, id_new()));
}

static void whole_buffer_is_filled(void)
{
    enum { LENGTH = 1 << 16 };
    g_autofree guint8 *buffer = g_malloc0(LENGTH);
    gsize zeros_at_the_end = 0;

    random_fill(buffer, LENGTH - 8);
    for (gsize i = LENGTH - 8; i < LENGTH; i++)
        CU_ASSERT_EQUAL(buffer[i], 0);
    for (gsize i = LENGTH - 40; i < LENGTH - 8; i++)
        zeros_at_the_end += buffer[i] == 0;
    CU_ASSERT_TRUE(zeros_at_the_end < 32);
}

static void time_is_in_nanoseconds(void)
{
    gint64 before_s = g_get_real_time() / G_USEC_PER_SEC;
    gint64 now_s = time_now_ns() / G_GINT64_CONSTANT(1000000000);

    CU_ASSERT_TRUE(now_s >= before_s && now_s <= before_s + 60);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"an id is 64 hexadecimal digits", id_is_64_hexadecimal_digits},
        {"no two ids are equal", ids_differ},
        {"random bytes fill the whole buffer and no more", whole_buffer_is_filled},
        {"the time of day is in nanoseconds", time_is_in_nanoseconds},
    };

    return test_main_args("ids", cases, G_N_ELEMENTS(cases), argc, argv);
}
