/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/owner_tag.h"

#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

static void a_directory_has_one_tag(void)
{
    g_autofree char *one = test_directory();
    g_autofree char *other = test_directory();
    g_autoptr(GError) error = NULL;
    g_autofree char *first = owner_tag_get(one, &error);
    g_autofree char *second = owner_tag_get(one, &error);
    g_autofree char *others = owner_tag_get(other, &error);

    CU_ASSERT_PTR_NULL(error);
    CU_ASSERT_TRUE(first != NULL && g_str_has_prefix(first, "crivirt-"));
    CU_ASSERT_STRING_EQUAL(first, second);
    CU_ASSERT_STRING_NOT_EQUAL(first, others);
}

static void a_file_without_a_tag_is_refused(void)
{
    static const char *const bad[] = {"", "crivirt-", "crivirt-0123456789abcdeg",
                                      "crivirt-0123456789abcdef\n"};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "owner", NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        CU_ASSERT_TRUE(g_file_set_contents(path, bad[i], -1, NULL));
        TEST_FAILS(owner_tag_get(directory, &error), error, STATUS_INTERNAL, path);
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"a state directory has one owner tag for ever, and no other has the same", a_directory_has_one_tag},
        {"a file without an owner tag is refused by name", a_file_without_a_tag_is_refused},
    };

    return test_main("owner", cases, G_N_ELEMENTS(cases));
}
