/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/harness.h"

#include <CUnit/Basic.h>
#include <CUnit/TestDB.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The directory in which all directories of this process are. */
static char *parent;

static void parent_remove(void)
{
    const char *argv[] = {"rm", "-rf", "--one-file-system", parent, NULL};

    g_spawn_sync(NULL, (char **)(void *)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_clear_pointer(&parent, g_free);
}

/* Starts a shell that removes the directories when this process has been killed and cannot do so itself. The
 * shell's input ends when this process does. It has a session of its own, so that a signal to the process
 * group spares it. */
static void parent_watch(void)
{
    const char *argv[] = {"setsid", "sh", "-c", "cat; exec rm -rf --one-file-system \"$0\"", parent, NULL};
    int input; /* closed by the end of the process */

    g_spawn_async_with_pipes("/", (char **)(void *)argv, NULL,
                             G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                             NULL, NULL, NULL, &input, NULL, NULL, NULL);
}

char *test_directory(void)
{
    static guint count;
    char *path;

    if (parent == NULL) {
        parent = g_dir_make_tmp("crivirt-test-XXXXXX", NULL);
        /* QEMU's user has to reach directories in it. */
        if (parent == NULL || g_chmod(parent, 0711) != 0)
            g_error("cannot make a temporary directory");
        parent_watch();
        atexit(parent_remove);
    }
    path = g_strdup_printf("%s/%u", parent, ++count);
    if (g_mkdir(path, 0700) != 0)
        g_error("cannot make a temporary directory");
    return path;
}

char *test_stderr_of(void (*function)(void *data), void *data)
{
    char text[1 << 16];
    int saved = dup(STDERR_FILENO);
    int ends[2];
    ssize_t n;

    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    dup2(ends[1], STDERR_FILENO);
    function(data);
    dup2(saved, STDERR_FILENO);
    n = read(ends[0], text, sizeof text);
    close(saved);
    close(ends[0]);
    close(ends[1]);
    return g_strndup(text, n > 0 ? (gsize)n : 0);
}

void test_check_error(GError **error, int status, const char *text, const char *file, int line)
{
    gboolean good = *error != NULL && (*error)->code == status && strstr((*error)->message, text) != NULL;

    if (!good)
        g_printerr("%s:%d: wanted status %d with \"%s\", got %d: %s\n", file, line, status, text,
                   *error != NULL ? (*error)->code : 0, *error != NULL ? (*error)->message : "no error");
    CU_assertImplementation(good, (unsigned)line, text, file, "", CU_FALSE);
    g_clear_error(error);
}

/* `part` comes from the command line and is contained in the sentence; $CRIVIRT_TEST_PATTERN is a regular
 * expression. */
static gboolean is_wanted(const char *sentence, const char *part)
{
    const char *pattern = g_getenv("CRIVIRT_TEST_PATTERN");

    if (part != NULL && strstr(sentence, part) == NULL)
        return FALSE;
    return pattern == NULL || g_regex_match_simple(pattern, sentence, 0, 0);
}

int test_main_args(const char *suite_name, const TestCase *cases, gsize n_cases, int argc, char **argv)
{
    guint passed = 0;
    guint failed = 0;
    CU_pSuite suite;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS || (suite = CU_add_suite(suite_name, NULL, NULL)) == NULL)
        return EXIT_FAILURE;
    for (gsize i = 0; i < n_cases; i++) {
        CU_pTest test;

        if (!is_wanted(cases[i].sentence, argc > 1 ? argv[1] : NULL))
            continue;
        test = CU_add_test(suite, cases[i].sentence, cases[i].function);
        if (test == NULL || CU_run_test(suite, test) != CUE_SUCCESS)
            return EXIT_FAILURE;
        if (CU_get_number_of_failures() == 0) {
            passed++;
            printf("ok   %s: %s\n", suite_name, cases[i].sentence);
        } else {
            failed++;
            for (CU_pFailureRecord record = CU_get_failure_list(); record != NULL; record = record->pNext)
                printf("     %s:%u: %s\n", record->strFileName, record->uiLineNumber, record->strCondition);
            printf("FAIL %s: %s\n", suite_name, cases[i].sentence);
        }
    }
    CU_cleanup_registry();
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int test_main(const char *suite, const TestCase *cases, gsize n_cases)
{
    return test_main_args(suite, cases, n_cases, 0, NULL);
}
