/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/cli/cri_log.h"
#include "cri-server/cli/log_follow.h"
#include "tests/unit/harness.h"

#define T "2024-05-01T12:00:00.000000001Z"

typedef struct {
    GString *out;
    GString *err;
} Output;

static gboolean collect(gboolean is_stderr, const char *bytes, gsize length, gpointer data, GError **error)
{
    Output *output = data;

    (void)error;
    g_string_append_len(is_stderr ? output->err : output->out, bytes, (gssize)length);
    return TRUE;
}

/* Feeds text in pieces of that size. */
static void expect_log(CriLogOptions options, const char *text, gsize piece, const char *out, const char *err)
{
    Output output = {g_string_new(NULL), g_string_new(NULL)};
    g_autoptr(CriLogReader) reader = NULL;
    g_autoptr(GError) error = NULL;
    gsize length = strlen(text);

    options.write = collect;
    options.data = &output;
    reader = cri_log_reader_new(&options);
    for (gsize at = 0; at < length; at += piece)
        TEST_OK(cri_log_reader_feed(reader, text + at, MIN(piece, length - at), &error), error);
    CU_ASSERT_STRING_EQUAL(output.out->str, out);
    CU_ASSERT_STRING_EQUAL(output.err->str, err);
    g_string_free(output.out, TRUE);
    g_string_free(output.err, TRUE);
}

static void streams_are_split(void)
{
    static const char text[] = T " stdout F one\n" T " stderr F two\n" T " stdout F \n";

    for (gsize piece = 1; piece <= sizeof text; piece++)
        expect_log((CriLogOptions){0}, text, piece, "one\n\n", "two\n");
}

static void parts_are_joined(void)
{
    static const char text[] = T " stdout P he\n" T " stderr P x\n" T " stdout P ll\n" T " stdout F o\n" T
                                 " stderr F y\n" T " stdout P no end";

    expect_log((CriLogOptions){0}, text, 7, "hello\n", "xy\n");
    expect_log((CriLogOptions){.timestamps = TRUE}, text, 3, T " hello\n", T " xy\n");
}

static void malformed_lines_are_dropped(void)
{
    static const char *const bad[] = {"",
                                      "text",
                                      T,
                                      T " stdout",
                                      T " stdout F",
                                      T " stdio F x",
                                      T " stdout X x",
                                      T " stdout Fx x",
                                      T "  stdout F x",
                                      "yesterday stdout F x",
                                      "2024-05-01 stdout F x"};
    CriLogLine line;

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        CU_ASSERT_FALSE(cri_log_parse(bad[i], strlen(bad[i]), &line));
    CU_ASSERT_TRUE(cri_log_parse(T " stdout F ", strlen(T " stdout F "), &line));
    CU_ASSERT_EQUAL(line.text_length, 0);
    CU_ASSERT_TRUE(cri_log_parse(T " stdout P:later x", strlen(T " stdout P:later x"), &line));
    CU_ASSERT_TRUE(line.is_partial);
    expect_log((CriLogOptions){0}, "rubbish\n" T " stdout F good\n\n", 4, "good\n", "");
}

static void endless_lines_cost_no_memory(void)
{
    g_autofree char *chunk = g_strnfill(65536, 'x');
    CriLogOptions options = {0};
    g_autoptr(CriLogReader) reader = cri_log_reader_new(&options);

    for (int i = 0; i < 64; i++)
        CU_ASSERT_TRUE(cri_log_reader_feed(reader, chunk, 65536, NULL));
    CU_ASSERT_TRUE(cri_log_reader_feed(reader, "\n" T " stdout F x\n", strlen(T) + 13, NULL));
    CU_ASSERT_EQUAL(cri_log_reader_malformed(reader), 1);
    CU_ASSERT_EQUAL(cri_log_reader_lines(reader), 1);
}

static void since_leaves_older_lines_out(void)
{
    expect_log((CriLogOptions){.since_ns = G_GINT64_CONSTANT(1714564801000000000)},
               "2024-05-01T12:00:00.9Z stdout P old\n2024-05-01T12:00:02Z stdout F er\n"
               "2024-05-01T12:00:01Z stdout F new\n",
               9, "new\n", "");
    /* found by the fuzzer: the nanoseconds of such a year do not fit */
    expect_log((CriLogOptions){.since_ns = 1}, "4048-05-01T12:00:00Z stdout F far\n", 9, "far\n", "");
}

/* --- files --------------------------------------------------------------------------------------------- */

static void append(const char *path, const char *text)
{
    FILE *file = fopen(path, "a");

    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static void tail_counts_joined_lines(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "0.log", NULL);
    Output output = {g_string_new(NULL), g_string_new(NULL)};
    LogFollow follow = {.path = path, .options = {.write = collect, .data = &output}, .tail = 2};
    g_autoptr(GError) error = NULL;
    guint64 malformed = 0;

    append(path,
           T " stdout F 1\n" T " stdout P 2\n" T " stderr F e\n" T " stdout F two\n bad\n" T " stdout F 3\n");
    TEST_OK(log_follow(&follow, &malformed, &error), error);
    CU_ASSERT_STRING_EQUAL(output.out->str, "3\n");
    CU_ASSERT_STRING_EQUAL(output.err->str, "e\n");
    CU_ASSERT_EQUAL(malformed, 1);
    follow.tail = 0;
    TEST_OK(log_follow(&follow, NULL, &error), error);
    CU_ASSERT_STRING_EQUAL(output.out->str, "3\n");
    g_string_free(output.out, TRUE);
    g_string_free(output.err, TRUE);
}

static void missing_file_is_named(void)
{
    LogFollow follow = {.path = "/nonexistent/0.log", .tail = -1};
    GError *error = NULL;

    TEST_FAILS(log_follow(&follow, NULL, &error), error, STATUS_NOT_FOUND, "/nonexistent/0.log");
}

/* A writer that rotates its log as the kubelet does; the last of it is written before `over`. */
typedef struct {
    const char *path;
    gint over;
} Writer;

enum { WRITER_LINES = 400, WRITER_ROTATE = 50 };

static gpointer write_and_rotate(gpointer data)
{
    Writer *writer = data;
    FILE *file = NULL;

    for (int i = 0; i < WRITER_LINES; i++) {
        g_autofree char *old = g_strdup_printf("%s.%d", writer->path, i);

        if (i % WRITER_ROTATE == 0 && file != NULL) {
            rename(writer->path, old);
            fprintf(file, T " stdout F last words\n"); /* the old file is written to until it is reopened */
            fclose(file);
            file = NULL;
        }
        if (file == NULL)
            file = fopen(writer->path, "a");
        fprintf(file, T " stdout P %d\n" T " stdout F .\n", i);
        fflush(file);
        g_usleep(i % WRITER_ROTATE == WRITER_ROTATE - 1 ? 60000 : 500);
    }
    fclose(file);
    g_atomic_int_set(&writer->over, 1);
    return NULL;
}

static gboolean writer_is_over(gpointer data, gboolean *ret_over, GError **error)
{
    (void)error;
    *ret_over = g_atomic_int_get(&((Writer *)data)->over) != 0;
    return TRUE;
}

static void rotation_loses_nothing(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "0.log", NULL);
    g_autoptr(GString) wanted = g_string_new(NULL);
    Output output = {g_string_new(NULL), g_string_new(NULL)};
    Writer writer = {.path = path};
    LogFollow follow = {.path = path,
                        .options = {.write = collect, .data = &output},
                        .tail = -1,
                        .is_over = writer_is_over,
                        .over_data = &writer,
                        .over_interval_ms = 20};
    GThread *thread = g_thread_new("writer", write_and_rotate, &writer);
    g_autoptr(GError) error = NULL;

    for (int i = 0; i < WRITER_LINES; i++)
        g_string_append_printf(wanted, "%s%d.\n", i > 0 && i % WRITER_ROTATE == 0 ? "last words\n" : "", i);
    TEST_OK(log_follow(&follow, NULL, &error), error);
    g_thread_join(thread);
    CU_ASSERT_STRING_EQUAL(output.out->str, wanted->str);
    g_string_free(output.out, TRUE);
    g_string_free(output.err, TRUE);
}

int main(void)
{
    static const TestCase cases[] = {
        {"stdout and stderr are split, however the file is read", streams_are_split},
        {"parts are joined within their stream", parts_are_joined},
        {"a line of another format is dropped", malformed_lines_are_dropped},
        {"the memory for an endless line is bounded", endless_lines_cost_no_memory},
        {"since leaves out lines that began before", since_leaves_older_lines_out},
        {"tail counts joined lines of both streams", tail_counts_joined_lines},
        {"the message about a missing file names it", missing_file_is_named},
        {"following over rotation loses nothing", rotation_loses_nothing},
    };
    return test_main("cli_log", cases, G_N_ELEMENTS(cases));
}
