/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <string.h>

#include "tests/unit/harness.h"

/* Checks the text before and after the time, which differs in each line. */
static void expect_line(void (*function)(void *), const char *before_time, const char *after_time)
{
    g_autofree char *line = test_stderr_of(function, NULL);

    CU_ASSERT_TRUE(g_str_has_prefix(line, before_time));
    CU_ASSERT_TRUE(g_str_has_suffix(line, after_time));
    CU_ASSERT_TRUE(strchr(line, '\n') == line + strlen(line) - 1); /* one line, whatever was in it */
}

static void write_plain(void *data)
{
    (void)data;
    log_info(LOG_FIELDS("sandbox", "abc", "netns", NULL, "path", "/a b"), "booted in %d ms", 12);
}

static void write_odd(void *data)
{
    (void)data;
    log_warning(LOG_FIELDS("name", "a\"b\\c\n\x01", "bad", "\xff", "red", "\x1b[31m"), "%s", "");
}

static void write_debug(void *data)
{
    (void)data;
    log_debug(LOG_NO_FIELDS, "nobody wants this");
}

static void write_by_glib(void *data)
{
    (void)data;
    g_warning("from a library");
}

static void a_line_is_logfmt_with_quotes_where_they_are_needed(void)
{
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    expect_line(write_plain, "time=2", "Z level=info msg=\"booted in 12 ms\" sandbox=abc path=\"/a b\"\n");
    expect_line(
        write_odd, "time=2",
        "Z level=warning msg=\"\" name=\"a\\\"b\\\\c\\n\\u0001\" bad=\"\xef\xbf\xbd\" red=\"\\u001b[31m\"\n");
}

static void a_line_is_json_when_that_is_asked_for(void)
{
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    expect_line(
        write_plain, "{\"time\":\"2",
        "Z\",\"level\":\"info\",\"msg\":\"booted in 12 ms\",\"sandbox\":\"abc\",\"path\":\"/a b\"}\n");
    expect_line(write_odd, "{\"time\":\"2",
                "\"msg\":\"\",\"name\":\"a\\\"b\\\\c\\n\\u0001\",\"bad\":\"\xef\xbf\xbd\",\"red\":\"\\u001b["
                "31m\"}\n");
}

static void what_is_below_the_level_is_not_written(void)
{
    g_autofree char *below = NULL;
    g_autofree char *above = NULL;

    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    below = test_stderr_of(write_debug, NULL);
    CU_ASSERT_STRING_EQUAL(below, "");
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    above = test_stderr_of(write_debug, NULL);
    CU_ASSERT_TRUE(strstr(above, "level=debug") != NULL);
}

static void messages_of_glib_come_here_too(void)
{
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    expect_line(write_by_glib, "time=2", "level=warning msg=\"from a library\"\n");
}

static void levels_and_formats_have_names(void)
{
    LogLevel level = LOG_LEVEL_ERROR;
    LogFormat format = LOG_FORMAT_JSON;

    CU_ASSERT_TRUE(log_level_from_name("debug", &level) && level == LOG_LEVEL_DEBUG);
    CU_ASSERT_TRUE(log_format_from_name("journal", &format) && format == LOG_FORMAT_JOURNAL);
    CU_ASSERT_FALSE(log_level_from_name("loud", &level) || log_format_from_name("xml", &format));
    CU_ASSERT_TRUE(level == LOG_LEVEL_DEBUG && format == LOG_FORMAT_JOURNAL);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a line is logfmt, with quotes where they are needed",
         a_line_is_logfmt_with_quotes_where_they_are_needed},
        {"a line is JSON in the format json", a_line_is_json_when_that_is_asked_for},
        {"messages below the level are not written", what_is_below_the_level_is_not_written},
        {"messages of GLib are written as our own", messages_of_glib_come_here_too},
        {"levels and formats have names", levels_and_formats_have_names},
    };

    return test_main_args("log", cases, G_N_ELEMENTS(cases), argc, argv);
}
