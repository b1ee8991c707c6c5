/* SPDX-License-Identifier: Apache-2.0 */
/* fsguard's table of what a guest has of its file server.
 */
#include "sandbox/vmm/fsguard/table.h"

#include <fcntl.h>
#include <string.h>

#include "tests/unit/harness.h"

static Table *table;

static void begin(void)
{
    table = table_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(table);
}

static void end(void)
{
    table_free(table);
}

static guint32 enter(guint64 server_id, guint32 parent, const char *name)
{
    return table_enter(table, server_id, parent, name, server_id + 1000, 0100644);
}

/* "parent/name" of a node, "-" for one without a name, "free" for none. The caller frees it. */
static char *place_of(guint32 id)
{
    const Node *node = table_node(table, id);

    if (node == NULL)
        return g_strdup("free");
    return node->parent == 0 ? g_strdup("-")
                             : g_strdup_printf("%u/%s", node->parent, table_name(table, node));
}

#define CHECK_PLACE(id, text)                                                                                \
    do {                                                                                                     \
        g_autofree char *check_place_ = place_of(id);                                                        \
        CU_ASSERT_STRING_EQUAL(check_place_, (text));                                                        \
    } while (0)

/* How many nodes the server has to forget. */
static guint n_forgotten(void)
{
    guint64 server_id, count;
    guint n = 0;

    while (table_next_forgotten(table, &server_id, &count))
        n++;
    return n;
}

static void gives_a_node_one_number(void)
{
    guint32 one, other;

    begin();
    one = enter(70, TABLE_ROOT, "a");
    other = enter(71, TABLE_ROOT, "b");
    CU_ASSERT_EQUAL(enter(70, TABLE_ROOT, "a"), one);
    CU_ASSERT_NOT_EQUAL(one, other);
    CU_ASSERT_EQUAL(table_node(table, one)->lookups, 2);
    CU_ASSERT_EQUAL(enter(TABLE_ROOT, other, ".."), TABLE_ROOT);
    CHECK_PLACE(one, "1/a");
    CU_ASSERT_EQUAL(table_find(table, TABLE_ROOT, "b"), other);
    CU_ASSERT_EQUAL(table_find(table, other, "b"), 0);
    CU_ASSERT_PTR_NULL(table_node(table, 0));
    CU_ASSERT_PTR_NULL(table_node(table, 4711));
    CU_ASSERT_PTR_NULL(table_node(table, UINT64_MAX));
    end();
}

static void renames_as_the_server_does(void)
{
    g_autofree char *name = g_strnfill(TABLE_NAME_MAX, 'n'), *too_long = g_strnfill(TABLE_NAME_MAX + 1, 'n');
    guint32 directory, one, other, third;

    begin();
    directory = enter(70, TABLE_ROOT, "directory");
    one = enter(71, TABLE_ROOT, "one");
    other = enter(72, directory, "other");
    table_rename(table, TABLE_ROOT, "one", directory, name);
    CU_ASSERT_EQUAL(table_find(table, directory, name), one);
    CU_ASSERT_EQUAL(table_find(table, TABLE_ROOT, "one"), 0);
    table_exchange(table, directory, name, directory, "other");
    CHECK_PLACE(one, "2/other");
    CU_ASSERT_EQUAL(table_find(table, directory, name), other);
    table_rename(table, directory, name, directory, "other"); /* over another node */
    CHECK_PLACE(other, "2/other");
    CHECK_PLACE(one, "-");
    table_rename(table, directory, "unknown", directory, "other");
    CHECK_PLACE(other, "-");
    third = enter(73, directory, too_long);
    CHECK_PLACE(third, "-");
    third = enter(73, directory, "a/b");
    CHECK_PLACE(third, "-");
    third = enter(73, directory, "third");
    table_unname(table, directory, "third");
    CHECK_PLACE(third, "-");
    end();
}

static void keeps_what_is_needed_to_find_others(void)
{
    guint32 directory, file, fh;

    begin();
    directory = enter(70, TABLE_ROOT, "directory");
    file = enter(71, directory, "file");
    fh = table_open(table, 9, file, O_RDWR, false);
    table_forget(table, directory, 1);
    table_forget(table, file, 1);
    CU_ASSERT_EQUAL(n_forgotten(), 0);
    table_close(table, fh);
    CU_ASSERT_EQUAL(n_forgotten(), 2);
    CHECK_PLACE(directory, "free");
    CHECK_PLACE(file, "free");
    table_forget(table, TABLE_ROOT, 5);
    table_forget(table, 12345, 5);
    CU_ASSERT_PTR_NOT_NULL(table_node(table, TABLE_ROOT));
    CU_ASSERT_TRUE(enter(72, TABLE_ROOT, "new") <= file); /* numbers are used again */
    end();
}

/* "start-end:type" of each lock of the node, in order; the caller frees it. */
static char *locks_of(guint32 node)
{
    guint32 n;
    const Lock *locks = table_locks(table, &n);
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint64 at = 0; at < 200; at++)
        for (guint32 i = 0; i < n; i++)
            if (locks[i].in_use && locks[i].node == node && locks[i].start == at)
                g_string_append_printf(text, "%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT "%s ", locks[i].start,
                                       locks[i].end, locks[i].type == F_RDLCK ? "r" : "w");
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void lock(guint32 node, guint64 owner, guint64 start, guint64 last, guint32 type)
{
    const Lock one = {.owner = owner, .start = start, .end = last, .node = node, .type = type};

    CU_ASSERT_TRUE(table_lock(table, &one));
}

#define CHECK_LOCKS(node, text)                                                                              \
    do {                                                                                                     \
        g_autofree char *check_locks_ = locks_of(node);                                                      \
        CU_ASSERT_STRING_EQUAL(check_locks_, (text));                                                        \
    } while (0)

static void cuts_locks_as_the_kernel_does(void)
{
    begin();
    lock(5, 1, 0, 99, F_WRLCK);
    lock(5, 1, 40, 49, F_UNLCK);
    CHECK_LOCKS(5, "0-39w 50-99w ");
    lock(5, 1, 30, 59, F_RDLCK);
    CHECK_LOCKS(5, "0-29w 30-59r 60-99w ");
    lock(5, 2, 100, INT64_MAX, F_WRLCK);
    table_unlock_owner(table, 5, 1);
    CHECK_LOCKS(5, "100-9223372036854775807w ");
    lock(5, 2, 0, INT64_MAX, F_UNLCK);
    CHECK_LOCKS(5, "");
    for (guint64 i = 0; i < TABLE_LOCKS_MAX; i++)
        lock(5, 3, 2 * i, 2 * i, F_WRLCK);
    CU_ASSERT_FALSE(table_lock(table, &(Lock){.node = 5, .owner = 4, .type = F_RDLCK}));
    end();
}

static void is_repaired_after_a_cut(void)
{
    guint32 directory, file, fh;

    begin();
    directory = enter(70, TABLE_ROOT, "directory");
    file = enter(71, directory, "file");
    fh = table_open(table, 9, file, O_RDWR, false);
    table_begin(table);
    CU_ASSERT_TRUE(table_is_dirty(table));
    table_node(table, directory)->children = 77; /* what a killed process may leave */
    table_node(table, directory)->next_by_name = file;
    table_node(table, file)->handles = 0;
    table_node(table, file)->next_by_id = directory;
    table_repair(table);
    CU_ASSERT_FALSE(table_is_dirty(table));
    CU_ASSERT_EQUAL(table_find(table, directory, "file"), file);
    CU_ASSERT_EQUAL(enter(71, directory, "file"), file);
    table_forget(table, directory, 1);
    table_forget(table, file, 2);
    table_close(table, fh);
    CU_ASSERT_EQUAL(n_forgotten(), 2);
    table_node(table, TABLE_ROOT)->children = 0;
    end();
}

static void has_a_place_at_one_server_only(void)
{
    guint32 one, other, fh;

    begin();
    one = enter(70, TABLE_ROOT, "one");
    other = enter(71, TABLE_ROOT, "other");
    fh = table_open(table, 9, one, O_RDWR, false);
    table_displace(table);
    CU_ASSERT_EQUAL(table_node(table, one)->place, PLACE_UNKNOWN);
    CU_ASSERT_EQUAL(table_handle(table, fh)->place, PLACE_UNKNOWN);
    CU_ASSERT_EQUAL(table_node(table, TABLE_ROOT)->place, PLACE_KNOWN);
    CU_ASSERT_TRUE(table_place(table, one, 5));
    CU_ASSERT_FALSE(table_place(table, other, 5));
    CU_ASSERT_FALSE(table_place(table, other, TABLE_ROOT));
    CU_ASSERT_EQUAL(enter(5, TABLE_ROOT, "one"), one);
    table_lose(table, other);
    table_displace(table);
    CU_ASSERT_EQUAL(table_node(table, other)->place, PLACE_LOST); /* for ever */
    table_clear(table);
    CHECK_PLACE(one, "free");
    CU_ASSERT_PTR_NULL(table_handle(table, fh));
    end();
}

static void is_bounded(void)
{
    guint64 n = 0;

    begin();
    while (enter(100 + n, TABLE_ROOT, NULL) != 0)
        n++;
    CU_ASSERT_EQUAL(n, TABLE_NODES_MAX - 2);
    CU_ASSERT_EQUAL(table_nodes_left(table), 0);
    CU_ASSERT_NOT_EQUAL(enter(100, TABLE_ROOT, "known"), 0);
    for (n = 0; table_open(table, n, 2, 0, false) != 0;)
        n++;
    CU_ASSERT_EQUAL(n, TABLE_HANDLES_MAX - 1);
    end();
}

int main(void)
{
    static const TestCase cases[] = {
        {"a node of the server has one number, however often the guest looks it up", gives_a_node_one_number},
        {"names change as the server changes them; two nodes never have one", renames_as_the_server_does},
        {"a node stays while a node below it or a handle needs it", keeps_what_is_needed_to_find_others},
        {"ranges of locks are cut and joined as the kernel does it", cuts_locks_as_the_kernel_does},
        {"a table is consistent again when a process was killed while it changed it",
         is_repaired_after_a_cut},
        {"a node has one place at a server, and a lost one none for ever", has_a_place_at_one_server_only},
        {"a guest can fill the table, and no more", is_bounded},
    };
    return test_main("fs_table", cases, G_N_ELEMENTS(cases));
}
