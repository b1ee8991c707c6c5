/* SPDX-License-Identifier: Apache-2.0 */
/* What a unit test file is made of: sentences, and functions that prove them.
 *
 *     static void keeps_order(void) { CU_ASSERT_EQUAL(…); }
 *     int main(void)
 *     {
 *         static const TestCase cases[] = {{"keys keep the order of the file", keeps_order}};
 *         return test_main("toml", cases, G_N_ELEMENTS(cases));
 *     }
 */
#pragma once

#include <CUnit/CUnit.h>
#include <glib.h>

typedef struct {
    const char *sentence;
    void (*function)(void);
} TestCase;

/* Runs the tests, prints a line for each, and at last "N passed, N failed". Only tests run whose sentence
 * contains the first argument of the command line and matches the regular expression $CRIVIRT_TEST_PATTERN,
 * where these are given. Return: the exit status for main(). */
int test_main(const char *suite, const TestCase *cases, gsize n_cases);
int test_main_args(const char *suite, const TestCase *cases, gsize n_cases, int argc, char **argv);

/* Asserts that the call succeeds, and prints its error if it does not. */
#define TEST_OK(call, error)                                                                                 \
    do {                                                                                                     \
        gboolean test_ok_ = (call) ? TRUE : FALSE;                                                           \
        if ((error) != NULL)                                                                                 \
            g_printerr("unexpected error: %s\n", (error)->message);                                          \
        CU_ASSERT_TRUE(test_ok_);                                                                            \
        CU_ASSERT_PTR_NULL(error);                                                                           \
    } while (0)

/* Asserts that the call fails with that status and with a message that contains that text. Frees the error.
 */
#define TEST_FAILS(call, error, status, text)                                                                \
    do {                                                                                                     \
        gboolean test_ok_ = (call) ? TRUE : FALSE;                                                           \
        CU_ASSERT_FALSE(test_ok_);                                                                           \
        test_check_error(&(error), (int)(status), (text), __FILE__, __LINE__);                               \
    } while (0)

void test_check_error(GError **error, int status, const char *text, const char *file, int line);

/* Makes a directory, which is removed with its content when the process ends, also when it is killed.
 * Return: its path, which the caller frees. */
char *test_directory(void);

/* Return: what function(data) writes to stderr, at most 64 KiB; the caller frees it. */
char *test_stderr_of(void (*function)(void *data), void *data);
