/* A unit test file: sentences and functions.
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

/* Prints a line per test and "N passed, N failed"; the exit code for main(). A first argument runs only the
 * tests whose sentence contains it. */
int test_main(const char *suite, const TestCase *cases, gsize n_cases);
int test_main_args(const char *suite, const TestCase *cases, gsize n_cases, int argc, char **argv);

/* The call succeeded; prints the error when not. */
#define TEST_OK(call, error)                                                                                 \
    do {                                                                                                     \
        gboolean test_ok_ = (call) ? TRUE : FALSE;                                                           \
        if ((error) != NULL)                                                                                 \
            g_printerr("unexpected error: %s\n", (error)->message);                                          \
        CU_ASSERT_TRUE(test_ok_);                                                                            \
        CU_ASSERT_PTR_NULL(error);                                                                           \
    } while (0)

/* The call failed with that status, and the message contains that text; the error is freed. */
#define TEST_FAILS(call, error, status, text)                                                                \
    do {                                                                                                     \
        gboolean test_ok_ = (call) ? TRUE : FALSE;                                                           \
        CU_ASSERT_FALSE(test_ok_);                                                                           \
        test_check_error(&(error), (int)(status), (text), __FILE__, __LINE__);                               \
    } while (0)

void test_check_error(GError **error, int status, const char *text, const char *file, int line);

/* A fresh directory, removed with all in it when the process ends, however it does. The caller frees the
 * string. */
char *test_directory(void);
