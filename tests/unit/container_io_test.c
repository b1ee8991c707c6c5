/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/container_io.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/harness.h"
#include "tests/unit/wait.h"

typedef Crivirt__Agent__V1__Output Output;

/* A container whose disk does not answer until the test says so. */
typedef struct {
    LoopThread *loop;
    GThreadPool *workers;
    ContainerIo *io;
    char *directory;
    char *log_path;

    GMutex lock;
    GCond changed;
    gboolean hangs;
    guint entered; /* calls of stored, those that hang included */
    guint ends;
    guint64 offsets[2];
} Fixture;

static void on_stored(LogStream stream, guint64 offset, gpointer data)
{
    Fixture *fixture = data;

    g_mutex_lock(&fixture->lock);
    fixture->entered++;
    while (fixture->hangs)
        g_cond_wait(&fixture->changed, &fixture->lock);
    fixture->offsets[stream] = offset;
    g_mutex_unlock(&fixture->lock);
}

static gboolean on_ended(const ContainerExit *exit, gboolean from_agent, gpointer data)
{
    Fixture *fixture = data;

    (void)exit;
    (void)from_agent;
    g_mutex_lock(&fixture->lock);
    fixture->ends++;
    g_mutex_unlock(&fixture->lock);
    return TRUE;
}

static guint read_locked(Fixture *fixture, const guint *number)
{
    guint value;

    g_mutex_lock(&fixture->lock);
    value = *number;
    g_mutex_unlock(&fixture->lock);
    return value;
}

static void put_output(Fixture *fixture, int stream, guint64 offset, const char *text, gboolean eof)
{
    Output output = CRIVIRT__AGENT__V1__OUTPUT__INIT;

    output.stream = (Crivirt__Agent__V1__Stream)stream;
    output.offset = offset;
    output.data.data = (guint8 *)text;
    output.data.len = strlen(text);
    output.eof = eof;
    container_io_output(fixture->io, &output);
}

/* A worker hangs with the first byte of each stream when this returns. */
static void fixture_init(Fixture *fixture)
{
    static const ContainerIoEvents events = {on_stored, on_ended};
    g_autofree char *cursor = NULL;
    g_autoptr(GError) error = NULL;

    memset(fixture, 0, sizeof *fixture);
    g_mutex_init(&fixture->lock);
    g_cond_init(&fixture->changed);
    fixture->hangs = TRUE;
    fixture->directory = test_directory();
    fixture->log_path = g_build_filename(fixture->directory, "log", NULL);
    cursor = g_build_filename(fixture->directory, "cursor", NULL);
    fixture->loop = loop_thread_new("agents");
    fixture->workers = g_thread_pool_new(container_io_work, NULL, 1, FALSE, NULL);
    fixture->io = container_io_new(fixture->loop, fixture->workers, &events, fixture);
    TEST_OK(container_io_open_log(fixture->io, fixture->log_path, cursor, &error), error);
    put_output(fixture, 0, 0, "begin\n", FALSE);
    WAIT_UNTIL(read_locked(fixture, &fixture->entered) == 1);
}

static void disk_answers(Fixture *fixture)
{
    g_mutex_lock(&fixture->lock);
    fixture->hangs = FALSE;
    g_cond_broadcast(&fixture->changed);
    g_mutex_unlock(&fixture->lock);
}

static void fixture_clear(Fixture *fixture)
{
    disk_answers(fixture);
    container_io_free(fixture->io);
    g_thread_pool_free(fixture->workers, FALSE, TRUE);
    loop_thread_free(fixture->loop);
    g_mutex_clear(&fixture->lock);
    g_cond_clear(&fixture->changed);
    g_free(fixture->log_path);
    g_free(fixture->directory);
}

/* Return: the texts of one stream's lines, joined. */
static char *log_texts(const Fixture *fixture, const char *stream)
{
    g_autofree char *text = NULL;
    g_autoptr(GString) texts = g_string_new(NULL);
    g_auto(GStrv) lines = NULL;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(fixture->log_path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) parts = g_strsplit(lines[i], " ", 4);

        if (g_strv_length(parts) == 4 && g_str_equal(parts[1], stream))
            g_string_append(texts, parts[3]);
    }
    return g_string_free(g_steal_pointer(&texts), FALSE);
}

/* As many as the windows of an honest agent allow: single bytes, alternately of both streams. */
static void small_writes_are_joined_and_complete(void)
{
    enum { BYTES = 200 * 1000 };
    Fixture fixture;
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    guint calls;

    fixture_init(&fixture);
    for (guint64 i = 0; i < BYTES; i++) {
        put_output(&fixture, 0, strlen("begin\n") + i, "o", FALSE);
        put_output(&fixture, 1, i, "e", FALSE);
    }
    put_output(&fixture, 0, strlen("begin\n") + BYTES, "\n", TRUE);
    put_output(&fixture, 1, BYTES, "\n", TRUE);
    disk_answers(&fixture);
    CU_ASSERT_EQUAL(container_io_finish(fixture.io, 60000), 0);
    calls = read_locked(&fixture, &fixture.entered);
    CU_ASSERT_TRUE(calls < 1000);
    CU_ASSERT_EQUAL(fixture.offsets[0], strlen("begin\n") + BYTES + 1);
    CU_ASSERT_EQUAL(fixture.offsets[1], BYTES + 1);
    out = log_texts(&fixture, "stdout");
    err = log_texts(&fixture, "stderr");
    CU_ASSERT_EQUAL(strlen(out), strlen("begin") + BYTES);
    CU_ASSERT_EQUAL(strspn(out + strlen("begin"), "o"), BYTES);
    CU_ASSERT_EQUAL(strspn(err, "e"), BYTES);
    fixture_clear(&fixture);
}

static void a_flood_of_items_is_bounded(void)
{
    Fixture fixture;
    static const ContainerExit exit = {.exit_code = 1, .reason = "Error"};

    fixture_init(&fixture);
    for (guint64 i = 0; i < 100000; i++) {
        put_output(&fixture, (int)(i % 2), i * 4096, "", FALSE); /* a gap each time */
        container_io_exited(fixture.io, &exit, TRUE);
    }
    container_io_exited(fixture.io, &exit, FALSE);
    disk_answers(&fixture);
    CU_ASSERT_EQUAL(container_io_finish(fixture.io, 60000), 0);
    CU_ASSERT_TRUE(read_locked(&fixture, &fixture.entered) < 1000);
    CU_ASSERT_EQUAL(read_locked(&fixture, &fixture.ends), 2);
    fixture_clear(&fixture);
}

static goffset log_size(const Fixture *fixture)
{
    struct stat status;

    return stat(fixture->log_path, &status) == 0 ? status.st_size : 0;
}

/* 64 KiB of output whose lines take 1.5 MB in the log, of which only a part fits at first. */
static void a_full_disk_takes_what_fits(void)
{
    enum { LINES = 32 * 1000, LIMIT = 700 * 1000 };
    g_autoptr(GString) lines = g_string_new(NULL);
    struct rlimit before, limit;
    g_autofree char *out = NULL;
    Fixture fixture;

    for (guint i = 0; i < LINES; i++)
        g_string_append(lines, "y\n");
    signal(SIGXFSZ, SIG_IGN);
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = LIMIT;
    fixture_init(&fixture);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    put_output(&fixture, 0, strlen("begin\n"), lines->str, TRUE);
    disk_answers(&fixture);
    WAIT_UNTIL(log_size(&fixture) > LIMIT / 2);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &before), 0);
    WAIT_UNTIL(read_locked(&fixture, &fixture.entered) == 2);
    CU_ASSERT_EQUAL(container_io_finish(fixture.io, 60000), 0);
    CU_ASSERT_EQUAL(fixture.offsets[0], strlen("begin\n") + lines->len);
    out = log_texts(&fixture, "stdout");
    CU_ASSERT_EQUAL(strspn(out + strlen("begin"), "y"), LINES);
    fixture_clear(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"many small writes to both streams take few items, and all of them are in the log",
         small_writes_are_joined_and_complete},
        {"empty outputs with gaps and repeated exits take a bounded number of items",
         a_flood_of_items_is_bounded},
        {"a full disk takes the lines that fit, and the others when there is space",
         a_full_disk_takes_what_fits},
    };

    return test_main("container_io", cases, G_N_ELEMENTS(cases));
}
