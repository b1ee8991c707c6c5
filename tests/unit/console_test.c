/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/console.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/harness.h"

static void check(const char *text, gsize length, guint lines, const char *wanted)
{
    g_autofree char *clean = console_clean(text, length, lines);

    CU_ASSERT_STRING_EQUAL(clean, wanted);
}

static void last_lines(void)
{
    check("one\r\ntwo\n\n  \nthree\n", 19, 2, "two\nthree");
    check("", 0, 5, "");
}

static void hostile(void)
{
    check("\033[31mred\033[0m \033]x\a\0!", 19, 5, "red x!");
    check("a\xff\xfe"
          "b",
          4, 5,
          "a\xef\xbf\xbd\xef\xbf\xbd"
          "b");
    check("\033[", 2, 5, "");
    check("\033", 1, 5, "");
    check("x\033[999999", 9, 5, "x");
}

static void reads_the_end(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "console", NULL);
    g_autofree char *tail = NULL;
    g_autofree char *none = NULL;

    g_file_set_contents(path, "beginning\nmiddle\nend\n", -1, NULL);
    tail = console_tail(path, 10, 5);
    CU_ASSERT_STRING_EQUAL(tail, "iddle\nend");
    none = console_tail("/nonexistent/console", 10, 5);
    CU_ASSERT_STRING_EQUAL(none, "");
}

static void cuts(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "console", NULL);
    struct stat status;

    g_file_set_contents(path, "0123456789", -1, NULL);
    CU_ASSERT_FALSE(console_trim(path, 10));
    CU_ASSERT_TRUE(console_trim(path, 9));
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_size, 0);
    CU_ASSERT_FALSE(console_trim("/nonexistent/console", 0));
}

/* The writer of a log goes on after the log was emptied, because it appends. */
static void cuts_all(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *large = g_build_filename(directory, "a.log", NULL);
    g_autofree char *small = g_build_filename(directory, "b.log", NULL);
    g_autofree char *link = g_build_filename(directory, "c.log", NULL);
    g_autofree char *elsewhere_directory = test_directory();
    g_autofree char *elsewhere = g_build_filename(elsewhere_directory, "d.log", NULL);
    g_autofree char *disk = g_build_filename(directory, "disk", NULL);
    char *left[4] = {NULL};
    const char *paths[] = {large, small, elsewhere, disk};
    int fd;

    g_file_set_contents(large, "0123456789", -1, NULL);
    g_file_set_contents(small, "01234", -1, NULL);
    g_file_set_contents(elsewhere, "0123456789", -1, NULL);
    g_file_set_contents(disk, "0123456789", -1, NULL);
    CU_ASSERT_EQUAL(symlink(elsewhere, link), 0);
    fd = open(large, O_WRONLY | O_APPEND | O_CLOEXEC);
    console_trim_all(directory, 5);
    CU_ASSERT_EQUAL(write(fd, "next", 4), 4);
    close(fd);
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++)
        CU_ASSERT_TRUE(g_file_get_contents(paths[i], &left[i], NULL, NULL));
    CU_ASSERT_STRING_EQUAL(left[0], "next");
    CU_ASSERT_STRING_EQUAL(left[1], "01234");
    CU_ASSERT_STRING_EQUAL(left[2], "0123456789");
    CU_ASSERT_STRING_EQUAL(left[3], "0123456789");
    for (gsize i = 0; i < G_N_ELEMENTS(left); i++)
        g_free(left[i]);
    console_trim_all("/nonexistent", 0);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the last lines are kept, and empty lines are left out", last_lines},
        {"control sequences are removed, and the rest becomes valid UTF-8", hostile},
        {"only the end of the file is read, and a missing file reads as empty", reads_the_end},
        {"a console file that is too large is emptied", cuts},
        {"of all logs in a directory those that are too large are emptied, and their writers go on",
         cuts_all},
    };
    return test_main_args("console", cases, G_N_ELEMENTS(cases), argc, argv);
}
