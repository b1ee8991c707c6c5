/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/id_table.h"

#include <string.h>

#include "tests/unit/harness.h"

static guint freed;

static void count_freed(gpointer object)
{
    (void)object;
    freed++;
}

/* The objects are the ids themselves. */
static IdTable *table_of(const char *const *ids)
{
    IdTable *table = id_table_new(count_freed);

    freed = 0;
    for (; *ids != NULL; ids++)
        id_table_insert(table, *ids, (gpointer)*ids);
    return table;
}

static char *range(const IdTable *table, const char *prefix)
{
    GString *text = g_string_new(NULL);
    guint n;
    const IdTableRow *rows = id_table_range(table, prefix, &n);

    for (guint i = 0; i < n; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? " " : "", (const char *)rows[i].object);
    return g_string_free(text, FALSE);
}

static void expect_range(const IdTable *table, const char *prefix, const char *wanted)
{
    g_autofree char *found = range(table, prefix);

    CU_ASSERT_STRING_EQUAL(found, wanted);
}

static void beginnings_find_all_that_begin_so(void)
{
    static const char *const ids[] = {"b2", "a1", "b10", "c", "b1", "b", NULL};
    IdTable *table = table_of(ids);

    expect_range(table, "", "a1 b b1 b10 b2 c");
    expect_range(table, "b", "b b1 b10 b2");
    expect_range(table, "b1", "b1 b10");
    expect_range(table, "b10", "b10");
    expect_range(table, "b100", "");
    expect_range(table, "0", "");
    expect_range(table, "d", "");
    CU_ASSERT_STRING_EQUAL(id_table_lookup(table, "b1"), "b1");
    CU_ASSERT_PTR_NULL(id_table_lookup(table, "b3"));
    CU_ASSERT_PTR_NULL(id_table_lookup(table, ""));
    id_table_free(table);
    CU_ASSERT_EQUAL(freed, 6);
}

static void what_is_removed_or_replaced_is_given_back(void)
{
    static const char *const ids[] = {"a", "b", NULL};
    static const char other[] = "b";
    IdTable *table = table_of(ids);

    id_table_remove(table, "a");
    id_table_remove(table, "a");
    CU_ASSERT_EQUAL(freed, 1);
    id_table_insert(table, other, (gpointer)other);
    CU_ASSERT_EQUAL(freed, 2);
    CU_ASSERT_PTR_EQUAL(id_table_lookup(table, "b"), other);
    expect_range(table, "", "b");
    id_table_free(table);
    CU_ASSERT_EQUAL(freed, 3);
}

static void an_empty_table_has_nothing(void)
{
    static const char *const none[] = {NULL};
    IdTable *table = table_of(none);

    expect_range(table, "", "");
    CU_ASSERT_PTR_NULL(id_table_lookup(table, "a"));
    id_table_remove(table, "a");
    id_table_free(table);
    id_table_free(NULL);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a prefix finds all ids that begin with it, in order", beginnings_find_all_that_begin_so},
        {"an object that is removed or replaced is released", what_is_removed_or_replaced_is_given_back},
        {"a search in an empty table finds nothing", an_empty_table_has_nothing},
    };

    return test_main("id_table", cases, G_N_ELEMENTS(cases));
}
