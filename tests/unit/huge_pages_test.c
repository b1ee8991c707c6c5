/* SPDX-License-Identifier: Apache-2.0 */
#include "common/huge_pages.h"

#include <string.h>

#include "tests/unit/harness.h"

static void test_setting(void)
{
    CU_ASSERT_FALSE(huge_pages_in_shared_memory(NULL));
    CU_ASSERT_FALSE(huge_pages_in_shared_memory("always within_size advise [never] deny force\n"));
    CU_ASSERT_FALSE(huge_pages_in_shared_memory("always within_size advise never [deny] force\n"));
    CU_ASSERT_TRUE(huge_pages_in_shared_memory("[always] within_size advise never deny force\n"));
    CU_ASSERT_TRUE(huge_pages_in_shared_memory("always within_size [advise] never deny force\n"));
}

/* Return: whether a program that this process starts may have huge pages. */
static gboolean child_may_have(void)
{
    g_autofree char *output = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(g_spawn_command_line_sync("grep THP_enabled /proc/self/status", &output, NULL, NULL, &error),
            error);
    return strstr(output, "1") != NULL;
}

static void test_child(void)
{
    g_autofree char *setting = NULL;

    g_file_get_contents("/sys/kernel/mm/transparent_hugepage/shmem_enabled", &setting, NULL, NULL);
    huge_pages_avoid();
    CU_ASSERT_EQUAL(child_may_have(), huge_pages_in_shared_memory(setting));
}

int main(void)
{
    static const TestCase cases[] = {
        {"the kernel's setting tells whether shared memory may have huge pages", test_setting},
        {"children have no huge pages, unless guests may have them", test_child},
    };

    return test_main("huge_pages", cases, G_N_ELEMENTS(cases));
}
