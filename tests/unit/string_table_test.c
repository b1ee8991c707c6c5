/* SPDX-License-Identifier: Apache-2.0 */
#include "common/string_table.h"

#include <string.h>

#include "tests/unit/harness.h"

enum { CHOSEN_PAIRS = 12, N_CHOSEN = 1 << CHOSEN_PAIRS };

/* One of N_CHOSEN strings that all have the same g_str_hash(): "Az" and "BY" are equal to it. */
static char *chosen_string(guint number)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < CHOSEN_PAIRS; i++)
        g_string_append(text, (number >> i & 1) != 0 ? "Az" : "BY");
    return g_string_free(text, FALSE);
}

/* The first two are those of the authors' key with 0 and 1 bytes; the others agree with CPython's hash(). */
static void agrees_with_other_implementations(void)
{
    static const guint64 key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    static const guint64 zero[2] = {0, 0};

    CU_ASSERT_EQUAL(string_siphash("", 0, key), 0xabac0158050fc4dc);
    CU_ASSERT_EQUAL(string_siphash("", 1, key), 0xc9f49bf37d57ca93);
    CU_ASSERT_EQUAL(string_siphash("seven b", 7, zero), 0xab2262fcb5199654);
    CU_ASSERT_EQUAL(string_siphash("eight by", 8, zero), 0xd54cf3f0e0ee2aad);
    CU_ASSERT_EQUAL(string_siphash("a name of more than two words", 29, zero), 0x1ada0cf3fee4f525);
}

static void spreads_chosen_strings(void)
{
    g_autoptr(GHashTable) hashes = g_hash_table_new(NULL, NULL);

    for (guint i = 0; i < N_CHOSEN; i++) {
        g_autofree char *text = chosen_string(i);
        g_autofree char *first = chosen_string(0);

        CU_ASSERT_EQUAL(g_str_hash(text), g_str_hash(first));
        g_hash_table_add(hashes, GUINT_TO_POINTER(string_hash(text)));
    }
    CU_ASSERT_TRUE(g_hash_table_size(hashes) > N_CHOSEN - N_CHOSEN / 100);
}

static void table_finds_its_keys(void)
{
    g_autoptr(GHashTable) table = string_table_new(g_free, NULL);

    for (guint i = 0; i < N_CHOSEN; i++)
        g_hash_table_insert(table, chosen_string(i), GUINT_TO_POINTER(i));
    CU_ASSERT_EQUAL(g_hash_table_size(table), N_CHOSEN);
    for (guint i = 0; i < N_CHOSEN; i++) {
        g_autofree char *text = chosen_string(i);

        CU_ASSERT_EQUAL(GPOINTER_TO_UINT(g_hash_table_lookup(table, text)), i);
    }
    CU_ASSERT_FALSE(g_hash_table_contains(table, "Az"));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the hash is SipHash-1-3", agrees_with_other_implementations},
        {"strings that are chosen to have one hash do not have one", spreads_chosen_strings},
        {"a table finds each of its keys", table_finds_its_keys},
    };

    return test_main_args("string_table", cases, G_N_ELEMENTS(cases), argc, argv);
}
