/* SPDX-License-Identifier: Apache-2.0 */
#include "common/process.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

#define SHELL(script) ((const char *const[]){"sh", "-c", (script), NULL})

static void expect_run(const ProcessSpec *spec, int exit_code, const char *output, const char *errors)
{
    g_auto(ProcessResult) result = {0};
    GError *error = NULL;

    TEST_OK(process_run(spec, NULL, &result, &error), error);
    CU_ASSERT_EQUAL(result.exit_code, exit_code);
    CU_ASSERT_TRUE(g_strcmp0(result.output, output) == 0);
    CU_ASSERT_TRUE(g_strcmp0(result.errors, errors) == 0);
}

static void output_errors_and_exit_code_come_back(void)
{
    ProcessSpec spec = {.argv = SHELL("printf out; printf 'err\\n\\n' >&2; exit 3")};

    expect_run(&spec, 3, "out", "err");
}

static void a_signal_counts_from_128(void)
{
    ProcessSpec spec = {.argv = SHELL("kill -9 $$")};

    g_autoptr(GError) error = NULL;

    expect_run(&spec, 137, "", "");
    TEST_FAILS(process_check(&spec, NULL, &error), error, STATUS_INTERNAL,
               "sh was killed by signal 9 (Killed)");
}

static void input_is_fed_and_the_environment_set(void)
{
    ProcessSpec spec = {
        .argv = SHELL("cat; printf %s \"$X\""),
        .environment = (const char *const[]){"X=y z", "PATH=/usr/bin:/bin", NULL},
        .input = "in\n",
        .input_length = 3,
    };
    ProcessSpec without = {.argv = SHELL("cat")};

    expect_run(&spec, 0, "in\ny z", "");
    expect_run(&without, 0, "", "");
}

static void large_input_and_output_do_not_block_each_other(void)
{
    g_autofree char *input = g_strnfill(1000000, 'x');
    ProcessSpec spec = {.argv = SHELL("cat"), .input = input, .input_length = 1000000};
    g_auto(ProcessResult) result = {0};
    GError *error = NULL;

    TEST_OK(process_run(&spec, NULL, &result, &error), error);
    CU_ASSERT_EQUAL(result.output_length, 1000000);
    CU_ASSERT_STRING_EQUAL(result.output, input);
}

static void output_beyond_the_limit_is_dropped(void)
{
    ProcessSpec spec = {.argv = SHELL("head -c 5000000 /dev/zero | tr '\\0' x"), .max_output_bytes = 10};

    expect_run(&spec, 0, "xxxxxxxxxx", "");
}

static void a_child_may_leave_its_input_unread(void)
{
    g_autofree char *input = g_strnfill(1000000, 'x');
    ProcessSpec spec = {.argv = SHELL("exec 0<&-; echo done"), .input = input, .input_length = 1000000};

    expect_run(&spec, 0, "done\n", "");
}

static void the_deadline_kills(void)
{
    ProcessSpec spec = {.argv = (const char *const[]){"sleep", "100000", NULL}};
    Deadline deadline = deadline_in_ms(100);
    ProcessResult result = {0};
    GError *error = NULL;

    TEST_FAILS(process_run(&spec, &deadline, &result, &error), error, STATUS_DEADLINE_EXCEEDED, "sleep: ");
    CU_ASSERT_PTR_NULL(result.output);
}

static void a_cancelled_call_kills(void)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    ProcessSpec spec = {.argv = (const char *const[]){"sleep", "100", NULL}};
    Deadline deadline = {.at_us = G_MAXINT64, .cancellable = cancellable};
    ProcessResult result = {0};
    GError *error = NULL;

    g_cancellable_cancel(cancellable);
    TEST_FAILS(process_run(&spec, &deadline, &result, &error), error, STATUS_CANCELLED, "sleep: ");
}

static void a_grandchild_with_the_pipes_holds_nobody(void)
{
    ProcessSpec spec = {.argv = SHELL("sleep 300 & echo $!")};
    g_auto(ProcessResult) result = {0};
    GError *error = NULL;
    pid_t grandchild;

    TEST_OK(process_run(&spec, NULL, &result, &error), error);
    grandchild = (pid_t)g_ascii_strtoll(result.output, NULL, 10);
    CU_ASSERT_TRUE_FATAL(grandchild > 1);
    CU_ASSERT_EQUAL(kill(grandchild, SIGKILL), 0); /* it still ran */
}

static void a_program_that_is_missing_is_an_error(void)
{
    ProcessSpec spec = {.argv = (const char *const[]){"/nonexistent/program", NULL}};
    ProcessResult result = {0};
    GError *error = NULL;

    TEST_FAILS(process_run(&spec, NULL, &result, &error), error, STATUS_INTERNAL, "/nonexistent/program");
}

static void check_reports_the_last_line(void)
{
    ProcessSpec good = {.argv = SHELL("exit 0")};
    ProcessSpec bad = {.argv = SHELL("echo first >&2; echo last >&2; exit 2")};
    GError *error = NULL;

    TEST_OK(process_check(&good, NULL, &error), error);
    TEST_FAILS(process_check(&bad, NULL, &error), error, STATUS_INTERNAL, "sh failed with exit code 2: last");
}

static void a_child_with_grace_comes_to_its_end(void)
{
    static const char *const argv[] = {"/bin/sh", "-c", "sleep 0.3; echo well", NULL};
    static const char *const hangs[] = {"sleep", "100000", NULL};
    ProcessSpec spec = {.argv = argv, .grace_ms = 60000};
    Deadline deadline = deadline_in_ms(50);
    g_auto(ProcessResult) result = {0};
    g_auto(ProcessResult) none = {0};
    g_autoptr(GError) error = NULL;

    TEST_OK(process_run(&spec, &deadline, &result, &error), error);
    CU_ASSERT_STRING_EQUAL(result.output, "well\n");
    spec = (ProcessSpec){.argv = hangs, .grace_ms = 100};
    TEST_FAILS(process_run(&spec, &deadline, &none, &error), error, STATUS_DEADLINE_EXCEEDED, "sleep: ");
}

static void the_deadline_kills_what_the_child_started(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *script = g_strdup_printf("sleep 1000 & echo $! > %s/pid; wait", directory);
    g_autofree char *path = g_build_filename(directory, "pid", NULL);
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    ProcessSpec spec = {.argv = argv};
    g_auto(ProcessResult) result = {0};
    Deadline deadline = deadline_in_ms(1000);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    pid_t child;

    TEST_FAILS(process_run(&spec, &deadline, &result, &error), error, STATUS_DEADLINE_EXCEEDED, "/bin/sh");
    CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &text, NULL, NULL));
    child = (pid_t)g_ascii_strtoll(text, NULL, 10);
    for (int i = 0; i < 1000 && kill(child, 0) == 0; i++) /* somebody reaps it */
        g_usleep(10000);
    CU_ASSERT_EQUAL(kill(child, 0), -1);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"output, errors and exit code are returned", output_errors_and_exit_code_come_back},
        {"a child that a signal kills has the exit code 128 and its number", a_signal_counts_from_128},
        {"input is fed and the environment set", input_is_fed_and_the_environment_set},
        {"large input and output do not block each other", large_input_and_output_do_not_block_each_other},
        {"output beyond the limit is dropped", output_beyond_the_limit_is_dropped},
        {"a child may leave its input unread", a_child_may_leave_its_input_unread},
        {"the deadline kills the child", the_deadline_kills},
        {"the deadline also kills processes that the child started",
         the_deadline_kills_what_the_child_started},
        {"a cancelled call kills the child", a_cancelled_call_kills},
        {"a child with a time of grace may come to its end when the caller has given up",
         a_child_with_grace_comes_to_its_end},
        {"a grandchild that keeps the pipes open does not delay the call",
         a_grandchild_with_the_pipes_holds_nobody},
        {"a program that is missing is an error", a_program_that_is_missing_is_an_error},
        {"process_check() reports the last line of stderr", check_reports_the_last_line},
    };

    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    return test_main_args("process", cases, G_N_ELEMENTS(cases), argc, argv);
}
