/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log_limit.h"

#include <string.h>

#include "tests/unit/harness.h"

enum { START_US = 1000 * 1000 };

static void lines_beyond_the_burst_are_counted(void)
{
    LogLimit limit = {0};
    guint suppressed = 0;

    for (int i = 0; i < LOG_LIMIT_BURST; i++)
        CU_ASSERT_TRUE(log_limit_pass(&limit, START_US, &suppressed));
    CU_ASSERT_EQUAL(suppressed, 0);
    for (int i = 0; i < 200000; i++)
        CU_ASSERT_FALSE(log_limit_pass(&limit, START_US, &suppressed));
    CU_ASSERT_TRUE(log_limit_pass(&limit, START_US + LOG_LIMIT_INTERVAL_S * G_USEC_PER_SEC, &suppressed));
    CU_ASSERT_EQUAL(suppressed, 200000);
    CU_ASSERT_FALSE(log_limit_pass(&limit, START_US + LOG_LIMIT_INTERVAL_S * G_USEC_PER_SEC, &suppressed));
}

static void write_limited(void *limit)
{
    for (int i = 0; i < 3 * LOG_LIMIT_BURST; i++)
        log_limited(limit, LOG_LEVEL_WARNING, LOG_FIELDS("pod", NULL, "sandbox", "abc"), "line %d", i);
}

static void a_limited_line_has_its_fields(void)
{
    LogLimit limit = {.suppressed = 7};
    g_autofree char *text = test_stderr_of(write_limited, &limit);
    guint lines = 0;

    CU_ASSERT_PTR_NOT_NULL(strstr(text, "level=warning msg=\"line 0\" sandbox=abc suppressed=7\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "msg=\"line 1\" sandbox=abc\n"));
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    CU_ASSERT_EQUAL(lines, LOG_LIMIT_BURST);
}

int main(void)
{
    static const TestCase cases[] = {
        {"lines beyond the burst are left out and counted", lines_beyond_the_burst_are_counted},
        {"a limited line has its fields, and how many lines were left out before it",
         a_limited_line_has_its_fields},
    };

    return test_main("log_limit", cases, G_N_ELEMENTS(cases));
}
