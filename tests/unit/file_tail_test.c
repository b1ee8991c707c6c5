/* SPDX-License-Identifier: Apache-2.0 */
#include "common/file_tail.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static char *new_path(void)
{
    g_autofree char *directory = test_directory();

    return g_build_filename(directory, "file", NULL);
}

static void append(const char *path, const char *text)
{
    FILE *file = fopen(path, "ae");

    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

/* What was read, with '|' where the reader was restarted. */
static gboolean note_bytes(gpointer data, const char *bytes, gsize length, GError **error)
{
    g_string_append_len(data, bytes, (gssize)length);
    return strstr(((GString *)data)->str, "bad") == NULL ||
           fail(error, STATUS_INVALID_ARGUMENT, "the reader refuses it");
}

static void note_restart(gpointer data)
{
    g_string_append_c(data, '|');
}

static const FileTailReader note = {note_bytes, note_restart};

static void has_read(FileTail *tail, const GString *seen, const char *wanted)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(file_tail_read(tail, NULL, &error), error);
    CU_ASSERT_STRING_EQUAL(seen->str, wanted);
}

static void end_of_a_file_is_read(void)
{
    g_autofree char *path = new_path();
    g_autofree char *link = g_strconcat(path, ".link", NULL);
    g_autofree char *fifo = g_strconcat(path, ".fifo", NULL);
    g_autofree char *end = NULL;
    g_autofree char *all = NULL;
    g_autofree char *missing = file_tail_read_end(path, 10, NULL);
    g_autofree char *of_link = NULL;
    g_autofree char *of_fifo = NULL;
    gsize length = 0;

    CU_ASSERT_STRING_EQUAL(missing, "");
    append(path, "0123456789");
    end = file_tail_read_end(path, 4, &length);
    CU_ASSERT_STRING_EQUAL(end, "6789");
    CU_ASSERT_EQUAL(length, 4);
    all = file_tail_read_end(path, 100, &length);
    CU_ASSERT_STRING_EQUAL(all, "0123456789");
    CU_ASSERT_EQUAL(symlink(path, link), 0);
    of_link = file_tail_read_end(link, 4, NULL);
    CU_ASSERT_STRING_EQUAL(of_link, "");
    CU_ASSERT_EQUAL(mkfifo(fifo, 0600), 0);
    of_fifo = file_tail_read_end(fifo, 4, NULL);
    CU_ASSERT_STRING_EQUAL(of_fifo, "");
}

static void only_new_bytes_are_passed_on(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GString) seen = g_string_new(NULL);
    g_autoptr(FileTail) tail = file_tail_new(path, TRUE, &note, seen);

    has_read(tail, seen, "");
    CU_ASSERT_FALSE(file_tail_is_open(tail));
    append(path, "one ");
    has_read(tail, seen, "one ");
    CU_ASSERT_TRUE(file_tail_is_open(tail));
    append(path, "two");
    has_read(tail, seen, "one two");
    has_read(tail, seen, "one two");
}

static void rotation_loses_nothing(void)
{
    g_autofree char *path = new_path();
    g_autofree char *old = g_strconcat(path, ".1", NULL);
    g_autoptr(GString) seen = g_string_new(NULL);
    g_autoptr(FileTail) tail = file_tail_new(path, TRUE, &note, seen);

    append(path, "a");
    has_read(tail, seen, "a");
    append(path, "b");
    CU_ASSERT_EQUAL(g_rename(path, old), 0);
    has_read(tail, seen, "ab");
    append(old, "c");
    append(path, "d");
    has_read(tail, seen, "abc|d");
}

static void cut_file_is_read_from_its_start(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GString) seen = g_string_new(NULL);
    g_autoptr(FileTail) tail = file_tail_new(path, FALSE, &note, seen);

    append(path, "long text");
    has_read(tail, seen, "long text");
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    append(path, "new");
    has_read(tail, seen, "long text|new");
}

static void reader_that_fails_ends_the_reading(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GString) seen = g_string_new(NULL);
    g_autoptr(FileTail) tail = file_tail_new(path, FALSE, &note, seen);
    g_autoptr(GError) error = NULL;

    append(path, "bad");
    TEST_FAILS(file_tail_read(tail, NULL, &error), error, STATUS_INVALID_ARGUMENT, "the reader refuses it");
}

static void wait_ends_with_a_write_or_a_cancellation(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GString) seen = g_string_new(NULL);
    g_autoptr(FileTail) tail = file_tail_new(path, TRUE, &note, seen);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();

    append(path, "a");
    file_tail_wait(tail, cancellable, 60000);
    has_read(tail, seen, "a");
    g_cancellable_cancel(cancellable);
    file_tail_wait(tail, cancellable, 60000);
    file_tail_wait(tail, NULL, 1);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the end of a regular file is read, and other files are refused", end_of_a_file_is_read},
        {"only new bytes are passed on", only_new_bytes_are_passed_on},
        {"rotation loses nothing and restarts the reader", rotation_loses_nothing},
        {"a file that was truncated is read from its start", cut_file_is_read_from_its_start},
        {"a reader that fails ends the reading", reader_that_fails_ends_the_reading},
        {"waiting ends with a write, a cancellation or the time-out",
         wait_ends_with_a_write_or_a_cancellation},
    };

    return test_main_args("file_tail", cases, G_N_ELEMENTS(cases), argc, argv);
}
