/* SPDX-License-Identifier: Apache-2.0 */
#include "common/node_memory.h"

#include "common/error.h"
#include "tests/unit/harness.h"

static gboolean read_text(const char *text, NodeMemory *ret_memory, GError **error)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "meminfo", NULL);

    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, text, -1, NULL));
    return node_memory_read(path, ret_memory, error);
}

static void reads_this_nodes_memory(void)
{
    g_autoptr(GError) error = NULL;
    NodeMemory memory = {0};

    TEST_OK(node_memory_read(NULL, &memory, &error), error);
    CU_ASSERT_TRUE(memory.total_bytes > 1 << 20);
    CU_ASSERT_TRUE(memory.available_bytes <= memory.total_bytes);
}

static void finds_the_fields_by_name(void)
{
    g_autoptr(GError) error = NULL;
    NodeMemory memory = {0};

    TEST_OK(read_text("XMemTotal: 1 kB\nMemFree:   2 kB\nMemAvailable:      300 kB\nMemTotal:     4000 kB\n",
                      &memory, &error),
            error);
    CU_ASSERT_EQUAL(memory.total_bytes, 4000 * 1024);
    CU_ASSERT_EQUAL(memory.available_bytes, 300 * 1024);
}

static void names_what_is_missing_or_wrong(void)
{
    g_autoptr(GError) error = NULL;
    NodeMemory memory;

    TEST_FAILS(read_text("MemTotal: 1 kB\n", &memory, &error), error, STATUS_INTERNAL,
               "no field MemAvailable");
    TEST_FAILS(read_text("", &memory, &error), error, STATUS_INTERNAL, "no field MemTotal");
    TEST_FAILS(read_text("MemTotal: many kB\n", &memory, &error), error, STATUS_INTERNAL,
               "MemTotal of /proc/meminfo is not a number");
    TEST_FAILS(read_text("MemTotal: 1 MB\n", &memory, &error), error, STATUS_INTERNAL, "not a number of kB");
    TEST_FAILS(node_memory_read("/nonexistent/meminfo", &memory, &error), error, STATUS_NOT_FOUND,
               "/nonexistent/meminfo");
}

int main(void)
{
    static const TestCase cases[] = {
        {"this node's memory is read", reads_this_nodes_memory},
        {"fields are found by their names", finds_the_fields_by_name},
        {"what is missing or wrong is named", names_what_is_missing_or_wrong},
    };

    return test_main("node_memory", cases, G_N_ELEMENTS(cases));
}
