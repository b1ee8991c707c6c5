/* SPDX-License-Identifier: Apache-2.0 */
/* The test runs a copy of itself that lies where a program of a bundle does; the copy prints what it finds.
 */
#include "common/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fileio.h"
#include "tests/unit/harness.h"

#define PRINT "--print"

static int print(void)
{
    static const char *const names[] = {"/usr/lib/qemu/virtiofsd", "/var/lib/crivirt/guest/kernel",
                                        "/var/lib/crivirt", "/opt/cni/bin"};

    bundle_prepare_environment();
    printf("%s\n", bundle_root() != NULL ? bundle_root() : "none");
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = bundle_path(names[i]);

        printf("%s\n", path);
    }
    printf("%s\n", g_getenv("PATH"));
    return 0;
}

typedef struct {
    char *root;
    char *program;
} Copy;

static void copy_make(Copy *copy)
{
    g_autofree char *directory = NULL;
    g_autofree char *text = NULL;
    gsize length = 0;

    copy->root = test_directory();
    directory = g_build_filename(copy->root, "bin", NULL);
    copy->program = g_build_filename(directory, "program", NULL);
    CU_ASSERT_TRUE_FATAL(dir_make(directory, 0755, NULL));
    CU_ASSERT_TRUE_FATAL(g_file_get_contents("/proc/self/exe", &text, &length, NULL));
    CU_ASSERT_TRUE_FATAL(file_write_atomic(copy->program, text, length, 0755, NULL));
}

static void copy_clear(Copy *copy)
{
    g_free(copy->root);
    g_free(copy->program);
}

static char **copy_run(const Copy *copy)
{
    const char *argv[] = {copy->program, PRINT, NULL};
    char *environment[] = {"PATH=/nowhere", NULL};
    g_autofree char *output = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(g_spawn_sync(NULL, (char **)argv, environment, G_SPAWN_DEFAULT, NULL, NULL, &output, NULL, NULL,
                         &error),
            error);
    return g_strsplit(output, "\n", -1);
}

static void test_without(void)
{
    Copy copy = {0};
    g_auto(GStrv) lines = NULL;

    copy_make(&copy);
    lines = copy_run(&copy);
    CU_ASSERT_STRING_EQUAL(lines[0], "none");
    CU_ASSERT_STRING_EQUAL(lines[1], "/usr/lib/qemu/virtiofsd");
    CU_ASSERT_STRING_EQUAL(lines[5], "/nowhere");
    copy_clear(&copy);
}

static void test_bundle(void)
{
    static const char *const expected[] = {"", "/lib/qemu/virtiofsd", "/lib/crivirt/guest/kernel"};
    Copy copy = {0};
    g_autofree char *share = NULL;
    g_autofree char *mark = NULL;
    g_auto(GStrv) lines = NULL;
    g_autofree char *path = NULL;

    copy_make(&copy);
    share = g_build_filename(copy.root, "share/crivirt", NULL);
    mark = g_build_filename(share, "relocations", NULL);
    CU_ASSERT_TRUE_FATAL(dir_make(share, 0755, NULL));
    CU_ASSERT_TRUE_FATAL(file_write_atomic(mark, "", 0, 0644, NULL));
    lines = copy_run(&copy);
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autofree char *wanted = g_strconcat(copy.root, expected[i], NULL);

        CU_ASSERT_STRING_EQUAL(lines[i], wanted);
    }
    CU_ASSERT_STRING_EQUAL(lines[3], "/var/lib/crivirt");
    CU_ASSERT_STRING_EQUAL(lines[4], "/opt/cni/bin");
    path = g_strconcat(copy.root, "/bin:/nowhere:", copy.root, "/lib/crivirt/fallback", NULL);
    CU_ASSERT_STRING_EQUAL(lines[5], path);
    copy_clear(&copy);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a program that lies in no bundle uses the paths of Debian's packages", test_without},
        {"a program of a bundle finds programs, libraries and guests in it, and state where it always is",
         test_bundle},
    };

    if (argc > 1 && strcmp(argv[1], PRINT) == 0)
        return print();
    return test_main("bundle", cases, G_N_ELEMENTS(cases));
}
