/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cpu_list.h"

#include "common/error.h"
#include "tests/unit/harness.h"

static void lists_are_joined(void)
{
    static const struct {
        const char *first, *second, *both;
        gsize length;
    } cases[] = {
        {"", "", "", 0},
        {"0", "", "0", 1},
        {"0-3,8", "4", "0-4,8", 2},
        {"7,1,3", "1-2", "1-3,7", 1},
        {"8191", "0", "0,8191", 1024},
        {"15", "16", "15-16", 3},
        {"2-2", "02", "2", 1},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        CpuList list = {0};
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;

        TEST_OK(cpu_list_add(&list, cases[i].first, "cpus", &error), error);
        TEST_OK(cpu_list_add(&list, cases[i].second, "cpus", &error), error);
        text = cpu_list_text(&list);
        CU_ASSERT_STRING_EQUAL(text, cases[i].both);
        CU_ASSERT_EQUAL(cpu_list_length(&list), cases[i].length);
    }
}

static void what_is_no_list_is_refused(void)
{
    static const char *const bad[] = {",",   "1,",  "1-",   "-1",     "3-1",   "a",
                                      "1 ",  "1;2", "8192", "0-8192", "0-7:2", "99999999999999999999",
                                      "1--2"};

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        CpuList list = {0};
        g_autoptr(GError) error = NULL;

        TEST_FAILS(cpu_list_add(&list, bad[i], "linux.cpuset_cpus", &error), error, STATUS_INVALID_ARGUMENT,
                   "linux.cpuset_cpus: \"");
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"lists are joined, and written with ranges", lists_are_joined},
        {"what is no list is refused", what_is_no_list_is_refused},
    };

    return test_main("cpu_list", cases, G_N_ELEMENTS(cases));
}
