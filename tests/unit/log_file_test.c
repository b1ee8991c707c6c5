/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/log_file.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

typedef struct {
    char *directory;
    char *path;
    char *cursor;
    LogFile *log;
} Fixture;

static void fixture_open(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    if (fixture->directory == NULL) {
        fixture->directory = test_directory();
        fixture->path = g_build_filename(fixture->directory, "0.log", NULL);
        fixture->cursor = g_build_filename(fixture->directory, "cursor", NULL);
    }
    fixture->log = log_file_open(fixture->path, fixture->cursor, &error);
    TEST_OK(fixture->log != NULL, error);
}

static void fixture_clear(Fixture *fixture)
{
    log_file_close(fixture->log);
    g_free(fixture->directory);
    g_free(fixture->path);
    g_free(fixture->cursor);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fixture, fixture_clear)

static guint64 give(Fixture *fixture, LogStream stream, guint64 offset, const char *text, gboolean eof)
{
    g_autoptr(GError) error = NULL;
    guint64 taken = 0;

    TEST_OK(log_file_write(fixture->log, stream, offset, text, strlen(text), eof, &taken, &error), error);
    return taken;
}

/* The log without its times: "stdout F text|stderr P text|". */
static char *content(const char *path)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    GString *result = g_string_new(NULL);

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return g_string_free(result, FALSE);
    lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL && *lines[i] != '\0'; i++)
        g_string_append_printf(result, "%s|", strchr(lines[i], ' ') + 1);
    return g_string_free(result, FALSE);
}

static void expect(const char *path, const char *wanted)
{
    g_autofree char *found = content(path);

    CU_ASSERT_STRING_EQUAL(found, wanted);
}

static void lines_are_full(void)
{
    g_auto(Fixture) fixture = {0};

    fixture_open(&fixture);
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 0, "one\ntwo\n", FALSE), 8);
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDERR, 0, "oops\n", FALSE), 5);
    expect(fixture.path, "stdout F one|stdout F two|stderr F oops|");
}

static void unfinished_waits(void)
{
    g_auto(Fixture) fixture = {0};

    fixture_open(&fixture);
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 0, "hel", FALSE), 0);
    expect(fixture.path, "");
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 3, "lo\n", FALSE), 6);
    expect(fixture.path, "stdout F hello|");
}

static void tail_is_partial(void)
{
    g_auto(Fixture) fixture = {0};

    fixture_open(&fixture);
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 0, "a\nno newline", FALSE), 2);
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 12, "", TRUE), 12);
    expect(fixture.path, "stdout F a|stdout P no newline|");
}

static void long_line_is_split(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *line = g_strnfill(2 * (gsize)LOG_LINE_BYTES + 5, 'x');
    g_autofree char *text = g_strconcat(line, "\n", NULL);
    g_autofree char *found = NULL;
    g_auto(GStrv) parts = NULL;

    fixture_open(&fixture);
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 0, text, FALSE), strlen(text));
    found = content(fixture.path);
    parts = g_strsplit(found, "|", -1);
    CU_ASSERT_EQUAL(g_strv_length(parts), 4);
    CU_ASSERT_TRUE(g_str_has_prefix(parts[0], "stdout P x"));
    CU_ASSERT_TRUE(g_str_has_prefix(parts[1], "stdout P x"));
    CU_ASSERT_STRING_EQUAL(parts[2], "stdout F xxxxx");
}

static void repeated_bytes_are_skipped(void)
{
    g_auto(Fixture) fixture = {0};

    fixture_open(&fixture);
    give(&fixture, LOG_STDOUT, 0, "one\ntwo\n", FALSE);
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 4, "two\nthree\n", FALSE), 14);
    expect(fixture.path, "stdout F one|stdout F two|stdout F three|");
}

static void exactly_once_after_a_kill(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *before = NULL;

    fixture_open(&fixture);
    give(&fixture, LOG_STDOUT, 0, "one\n", FALSE);
    /* Killed between the log's write and the cursor's: the log is ahead. */
    before = content(fixture.path);
    g_clear_pointer(&fixture.log, log_file_close);
    {
        FILE *file = g_fopen(fixture.path, "a");

        fputs("2026-01-01T00:00:00.000000000Z stdout F two\n2026-01-01T0", file);
        fclose(file);
    }
    fixture_open(&fixture);
    expect(fixture.path, before);
    give(&fixture, LOG_STDOUT, 0, "one\ntwo\n", FALSE);
    expect(fixture.path, "stdout F one|stdout F two|");
}

static void reopen_leaves_the_old(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *rotated = NULL;
    g_autoptr(GError) error = NULL;

    fixture_open(&fixture);
    rotated = g_strconcat(fixture.path, ".1", NULL);
    give(&fixture, LOG_STDOUT, 0, "old\n", FALSE);
    CU_ASSERT_EQUAL(g_rename(fixture.path, rotated), 0);
    give(&fixture, LOG_STDOUT, 4, "still old\n", FALSE);
    TEST_OK(log_file_reopen(fixture.log, &error), error);
    give(&fixture, LOG_STDOUT, 14, "new\n", FALSE);
    expect(rotated, "stdout F old|stdout F still old|");
    expect(fixture.path, "stdout F new|");
}

static void no_path_takes_all(void)
{
    g_auto(Fixture) fixture = {0};
    g_autoptr(GError) error = NULL;

    fixture.directory = test_directory();
    fixture.cursor = g_build_filename(fixture.directory, "cursor", NULL);
    fixture.log = log_file_open(NULL, fixture.cursor, &error);
    TEST_OK(fixture.log != NULL, error);
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 0, "into\nnothing\n", FALSE), 13);
}

static void full_disk_takes_nothing(void)
{
    g_auto(Fixture) fixture = {0};
    g_autoptr(GError) error = NULL;
    struct rlimit old;
    struct rlimit small = {0};
    guint64 taken = 77;

    fixture_open(&fixture);
    give(&fixture, LOG_STDOUT, 0, "fits\n", FALSE);
    /* A file size limit stops a write in the middle of a line, as a full disk does. */
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 60;
    setrlimit(RLIMIT_FSIZE, &small);
    TEST_FAILS(log_file_write(fixture.log, LOG_STDOUT, 5, "does not fit\n", 13, FALSE, &taken, &error), error,
               STATUS_INTERNAL, "0.log");
    CU_ASSERT_EQUAL(taken, 77);
    setrlimit(RLIMIT_FSIZE, &old);
    expect(fixture.path, "stdout F fits|");
    CU_ASSERT_EQUAL(give(&fixture, LOG_STDOUT, 5, "does not fit\n", FALSE), 18);
    expect(fixture.path, "stdout F fits|stdout F does not fit|");
}

int main(void)
{
    static const TestCase cases[] = {
        {"each line is one F entry with the name of its stream", lines_are_full},
        {"an unfinished line is kept and not acknowledged", unfinished_waits},
        {"a tail without newline is a P entry at the end of the stream", tail_is_partial},
        {"a long line is split into P parts that end in F", long_line_is_split},
        {"bytes that are sent again are written once", repeated_bytes_are_skipped},
        {"bytes that a killed daemon wrote beyond its cursor are in the log once", exactly_once_after_a_kill},
        {"reopening writes to a new file and leaves the renamed one alone", reopen_leaves_the_old},
        {"without a path bytes are accepted and dropped", no_path_takes_all},
        {"on a full disk nothing is written, and the same bytes can be passed again",
         full_disk_takes_nothing},
    };

    return test_main("log_file", cases, G_N_ELEMENTS(cases));
}
