/* SPDX-License-Identifier: Apache-2.0 */
#include "common/child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"
#include "tests/unit/wait.h"

#define SHELL(script) ((const char *const[]){"sh", "-c", (script), NULL})

enum { POD_SCORE = 777, OUTPUT_MAX = 4000 };

/* Runs the script as a child of that kind. Return: what it wrote, the caller's. */
static char *output_of(ChildKind kind, const char *script)
{
    GError *error = NULL;
    g_autofree char *output = g_malloc0(OUTPUT_MAX);
    gsize length = 0;
    int ends[2];
    ssize_t got;
    pid_t pid = 0;

    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
    TEST_OK(child_spawn(&(ChildSpec){.argv = SHELL(script),
                                     .fds = (const int[]){-1, ends[1], 2},
                                     .n_fds = 3,
                                     .kind = kind,
                                     .pod_oom_score_adj = POD_SCORE},
                        &pid, &error),
            error);
    close(ends[1]);
    while ((got = read(ends[0], output + length, OUTPUT_MAX - 1 - length)) > 0)
        length += (gsize)got;
    close(ends[0]);
    CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
    return g_strchomp(g_steal_pointer(&output));
}

static int score_read(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/oom_score_adj", (int)pid);
    g_autofree char *text = NULL;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &text, NULL, NULL));
    return (int)g_ascii_strtoll(text, NULL, 10);
}

/* Return: whether this process may have the score. */
static gboolean score_write(int score)
{
    g_autofree char *text = g_strdup_printf("%d", score);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    gboolean done = write(fd, text, strlen(text)) > 0;

    close(fd);
    return done;
}

static const struct {
    const char *name;
    int oom_score_adj;
    int niceness;
} rows[] = {
#define CHILD(kind, oom_score_adj, niceness, core, environment) {#kind, oom_score_adj, niceness},
#include "common/children.def"
};

/* Where the kernel lets this process be protected, it is as the daemon is under its unit. */
static void each_kind_has_the_score_of_its_row(void)
{
    static const int own[] = {-999, 500};
    const int before = score_read(getpid());

    for (gsize i = 0; i < G_N_ELEMENTS(own); i++) {
        if (!score_write(own[i]))
            continue;
        for (int kind = 0; kind < CHILD_KINDS; kind++) {
            g_autofree char *output = output_of((ChildKind)kind, "cat /proc/self/oom_score_adj");
            const int row =
                rows[kind].oom_score_adj == CHILD_SCORE_OF_POD ? POD_SCORE : rows[kind].oom_score_adj;
            const int score = (int)g_ascii_strtoll(output, NULL, 10);

            if (score != row && !(row < 0 && own[i] > row && score == 0)) /* without CAP_SYS_RESOURCE */
                g_printerr("%s of a parent with %d has %s\n", rows[kind].name, own[i], output);
            CU_ASSERT_TRUE(score == row || (row < 0 && own[i] > row && score == 0));
        }
        CU_ASSERT_EQUAL(score_read(getpid()), own[i]);
    }
    score_write(before);
}

static void a_child_has_the_niceness_of_its_row(void)
{
    const int own = getpriority(PRIO_PROCESS, 0);

    for (int kind = 0; kind < CHILD_KINDS; kind++) {
        g_autofree char *output = output_of((ChildKind)kind, "cut -d ' ' -f 19 /proc/self/stat");

        CU_ASSERT_EQUAL(g_ascii_strtoll(output, NULL, 10), MIN(own + rows[kind].niceness, 19));
    }
}

static void a_child_leaves_no_core_file_unless_its_row_says_so(void)
{
    struct rlimit core = {0};
    g_autofree char *tool = output_of(CHILD_TOOL, "ulimit -S -c; ulimit -H -c");
    g_autofree char *server = output_of(CHILD_VIRTIOFSD, "ulimit -S -c");
    g_autofree char *agent = output_of(CHILD_HOST_AGENT, "ulimit -S -c");

    CU_ASSERT_STRING_EQUAL(tool, "0\n0");
    CU_ASSERT_STRING_EQUAL(server, "0");
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_CORE, &core), 0);
    if (core.rlim_max == RLIM_INFINITY)
        CU_ASSERT_STRING_EQUAL(agent, "unlimited");
}

static void a_child_does_not_speak_for_the_daemon_to_its_service_manager(void)
{
    g_autofree char *agent = NULL;
    g_autofree char *plugin = NULL;

    g_setenv("NOTIFY_SOCKET", "/run/notify", TRUE);
    g_setenv("CHILD_TEST", "kept", TRUE);
    agent = output_of(CHILD_HOST_AGENT, "env");
    plugin = output_of(CHILD_CNI_PLUGIN, "env");
    g_unsetenv("NOTIFY_SOCKET");
    g_unsetenv("CHILD_TEST");
    CU_ASSERT_PTR_NULL(strstr(agent, "NOTIFY_SOCKET"));
    CU_ASSERT_PTR_NULL(strstr(plugin, "NOTIFY_SOCKET"));
    CU_ASSERT_PTR_NULL(strstr(agent, "CHILD_TEST"));
    CU_ASSERT_PTR_NOT_NULL(strstr(plugin, "CHILD_TEST=kept"));
    CU_ASSERT_PTR_NOT_NULL(strstr(agent, "PATH="));
}

static void a_childs_signals_are_unblocked_and_have_their_default_actions(void)
{
    g_autofree char *output = NULL;
    sigset_t all;
    sigset_t before;

    signal(SIGPIPE, SIG_IGN);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    output = output_of(CHILD_TOOL, "exec grep -E '^Sig(Blk|Ign):' /proc/self/status");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    CU_ASSERT_STRING_EQUAL(output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000");
}

static void a_child_has_its_descriptors_and_no_others_and_a_session_on_request(void)
{
    static const char script[] =
        "[ -e /proc/self/fd/3 ] && echo three; [ -e /proc/self/fd/90 ] || echo no other;"
        "[ \"$(cut -d ' ' -f 6 /proc/$$/stat)\" = $$ ] && echo session; cat";
    GError *error = NULL;
    char output[100] = "";
    int ends[2];
    pid_t pid = 0;

    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    CU_ASSERT_EQUAL(dup2(ends[1], 90), 90);
    ChildSpec spec = {.argv = SHELL(script),
                      .fds = (const int[]){-1, ends[1], ends[1], ends[1]},
                      .n_fds = 4,
                      .new_session = TRUE};
    TEST_OK(child_spawn(&spec, &pid, &error), error);
    close(90);
    close(ends[1]);
    CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
    CU_ASSERT_TRUE(read(ends[0], output, sizeof output - 1) > 0);
    CU_ASSERT_STRING_EQUAL(output, "three\nno other\nsession\n");
    close(ends[0]);
}

static void a_program_that_cannot_be_run_is_an_error(void)
{
    ChildSpec spec = {.argv = (const char *const[]){"/nowhere/at-all", NULL}};
    GError *error = NULL;
    pid_t pid = 0;

    TEST_FAILS(child_spawn(&spec, &pid, &error), error, STATUS_INTERNAL, "/nowhere/at-all: No such file");
    spec.argv = (const char *const[]){"no-such-program-anywhere", NULL};
    TEST_FAILS(child_spawn(&spec, &pid, &error), error, STATUS_INTERNAL, "no-such-program-anywhere");
    spec.argv = (const char *const[]){"/", NULL};
    TEST_FAILS(child_spawn(&spec, &pid, &error), error, STATUS_INTERNAL, "cannot run /: Permission denied");
    spec = (ChildSpec){.argv = SHELL("exit 0"), .fds = (const int[]){987654}, .n_fds = 1};
    TEST_FAILS(child_spawn(&spec, &pid, &error), error, STATUS_INTERNAL, "Bad file descriptor");
    CU_ASSERT_EQUAL(waitpid(-1, NULL, WNOHANG), -1); /* none of them is left */
}

static gpointer start_many(gpointer data)
{
    (void)data;
    for (int i = 0; i < 50; i++) {
        g_autofree char *output = output_of(CHILD_TOOL, "echo started");

        if (!g_str_equal(output, "started"))
            return GINT_TO_POINTER(1);
    }
    return NULL;
}

static void threads_start_children_at_once(void)
{
    GThread *threads[4];

    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("starter", start_many, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        CU_ASSERT_PTR_NULL(g_thread_join(threads[i]));
}

static gboolean child_is_there(const char *path)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) && strchr(text, '\n') != NULL;
}

static void a_running_process_is_adjusted_with_its_children(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "pid", NULL);
    g_autofree char *script = g_strdup_printf("sleep 1000 & echo $! > %s; wait", path);
    const ChildSpec spec = {.argv = (const char *const[]){"sh", "-c", script, NULL}, .new_session = TRUE};
    g_autofree char *text = NULL;
    GError *error = NULL;
    pid_t pid = 0;
    pid_t grandchild;

    TEST_OK(child_spawn(&spec, &pid, &error), error);
    WAIT_UNTIL(child_is_there(path));
    CU_ASSERT_TRUE(g_file_get_contents(path, &text, NULL, NULL));
    grandchild = (pid_t)g_ascii_strtoll(text, NULL, 10);
    child_adjust(pid, CHILD_VIRTIOFSD, 321);
    CU_ASSERT_EQUAL(score_read(pid), 321);
    CU_ASSERT_EQUAL(score_read(grandchild), 321);
    child_adjust(pid, CHILD_TEMPLATE_QEMU, 0);
    CU_ASSERT_EQUAL(score_read(grandchild), 1000);
    CU_ASSERT_EQUAL(getpriority(PRIO_PROCESS, (id_t)pid), MIN(getpriority(PRIO_PROCESS, 0) + 19, 19));
    kill(-pid, SIGKILL);
    waitpid(pid, NULL, 0);
    child_adjust(pid, CHILD_QEMU, 0); /* it has ended */
}

static void a_process_that_a_library_forks_has_the_score_0(void)
{
    const int before = score_read(getpid());
    pid_t pid;
    int status = 0;

    child_watch_forks();
    child_watch_forks();
    CU_ASSERT_TRUE(score_write(400));
    pid = fork();
    if (pid == 0)
        _exit(score_read(getpid()) == 0 ? 0 : 1);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(score_read(getpid()), 400);
    score_write(before);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"each kind of child has the score of its row, not that of its parent",
         each_kind_has_the_score_of_its_row},
        {"a child has the niceness of its row", a_child_has_the_niceness_of_its_row},
        {"a child leaves no core file unless its row says so",
         a_child_leaves_no_core_file_unless_its_row_says_so},
        {"a child cannot speak for the daemon to its service manager",
         a_child_does_not_speak_for_the_daemon_to_its_service_manager},
        {"a child's signals are unblocked and have their default actions",
         a_childs_signals_are_unblocked_and_have_their_default_actions},
        {"a started child has its descriptors and no others, and a session on request",
         a_child_has_its_descriptors_and_no_others_and_a_session_on_request},
        {"a program that cannot be run is an error", a_program_that_cannot_be_run_is_an_error},
        {"threads may start children at once", threads_start_children_at_once},
        {"a running process is adjusted with its children", a_running_process_is_adjusted_with_its_children},
        {"a process that a library forks has the score 0", a_process_that_a_library_forks_has_the_score_0},
    };

    return test_main_args("child", cases, G_N_ELEMENTS(cases), argc, argv);
}
