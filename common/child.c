/* SPDX-License-Identifier: Apache-2.0 */
#include "common/child.h"

#include "common/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"

enum { LOWEST_PRIORITY = 19, LIST_MAX_BYTES = 1 << 16 };

typedef struct {
    int oom_score_adj;
    int niceness;
    rlim_t core;
    gboolean has_daemon_environment;
} Policy;

enum { OWN = FALSE, DAEMON = TRUE };
static const Policy policies[] = {
#define CHILD(kind, oom_score_adj, niceness, core, environment) {oom_score_adj, niceness, core, environment},
#include "common/children.def"
};

int child_oom_score_adj(ChildKind kind, int pod_oom_score_adj)
{
    const int score = policies[kind].oom_score_adj;

    return score == CHILD_SCORE_OF_POD ? pod_oom_score_adj : score;
}

/* ---- environment ---- */

char **child_environment(ChildKind kind)
{
    /* Of the service manager: a program would report to it in the daemon's name. */
    static const char *const of_manager[] = {"NOTIFY_SOCKET", "WATCHDOG_PID",         "WATCHDOG_USEC",
                                             "LISTEN_PID",    "LISTEN_FDS",           "LISTEN_FDNAMES",
                                             "INVOCATION_ID", "JOURNAL_STREAM",       "SYSTEMD_EXEC_PID",
                                             "MAINPID",       "CREDENTIALS_DIRECTORY"};
    static const char *const own[] = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "MKE2FS_CONFIG"};
    g_auto(GStrv) daemon = g_get_environ();
    char **environment = NULL;

    if (policies[kind].has_daemon_environment) {
        environment = g_steal_pointer(&daemon);
        for (gsize i = 0; i < G_N_ELEMENTS(of_manager); i++)
            environment = g_environ_unsetenv(environment, of_manager[i]);
        return environment;
    }
    environment = g_new0(char *, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(own); i++) {
        const char *value = g_environ_getenv(daemon, own[i]);

        if (value != NULL)
            environment = g_environ_setenv(environment, own[i], value, TRUE);
    }
    return environment;
}

/* ---- in the child ---- */

/* The child shares the daemon's memory until it runs its program, as after vfork(2), and other threads of the
 * daemon go on. So its code makes system calls only, and none through a function that sanitizers replace. */
#define IN_CHILD __attribute__((noinline, no_sanitize("address", "thread", "undefined")))

/* ThreadSanitizer takes the child for a thread of the daemon unless it has memory of its own. */
#ifdef __SANITIZE_THREAD__
enum { CLONE_FLAGS = CLONE_VFORK | SIGCHLD };
#else
enum { CLONE_FLAGS = CLONE_VM | CLONE_VFORK | SIGCHLD };
#endif

enum { STACK_BYTES = 128 * 1024, SIGNALS = 64, SIGNAL_SET_BYTES = SIGNALS / 8 };

typedef struct {
    const ChildSpec *spec;
    const char *program;
    char *const *argv;
    char *const *environment;
    char score[8];
    gsize score_length;
    gboolean score_is_negative;
    int niceness;
    struct rlimit core;
    int problem; /* an errno that the child has left; 0: the program runs */
} Start;

/* Without CAP_SYS_RESOURCE the kernel refuses a score below the one that the process began with. */
static IN_CHILD void write_score(const char *score, gsize length, gboolean is_negative)
{
    long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (syscall(SYS_write, fd, score, length) < 0 && is_negative)
        syscall(SYS_write, fd, "0", 1);
    syscall(SYS_close, fd);
}

static IN_CHILD void reset_signals(void)
{
    static const char default_action[64]; /* the kernel's struct, SIG_DFL and no flags */

    for (int i = 1; i <= SIGNALS; i++)
        syscall(SYS_rt_sigaction, i, default_action, NULL,
                SIGNAL_SET_BYTES); /* fails for SIGKILL and SIGSTOP */
}

/* Return: FALSE with errno set. */
static IN_CHILD gboolean place_fd(int from, int to)
{
    long fd = from >= 0 ? from : syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR);

    if (fd < 0)
        return FALSE;
    if (fd == to)
        return syscall(SYS_fcntl, to, F_SETFD, 0) == 0;
    if (syscall(SYS_dup3, fd, to, 0) < 0)
        return FALSE;
    if (from < 0)
        syscall(SYS_close, fd);
    return TRUE;
}

static IN_CHILD gboolean place_fds(const ChildSpec *spec)
{
    for (guint i = 0; i < spec->n_fds; i++)
        if (!place_fd(spec->fds[i], (int)i))
            return FALSE;
    return syscall(SYS_close_range, spec->n_fds, ~0U, 0) == 0;
}

static IN_CHILD int child_main(void *data)
{
    static const char no_signals[SIGNAL_SET_BYTES];
    Start *start = data;

    write_score(start->score, start->score_length, start->score_is_negative);
    if (start->niceness != 0)
        syscall(SYS_setpriority, PRIO_PROCESS, 0, start->niceness);
    syscall(SYS_prlimit64, 0, RLIMIT_CORE, &start->core, NULL);
    if (start->spec->new_session)
        syscall(SYS_setsid);
    else
        syscall(SYS_setpgid, 0, 0);
    reset_signals();
    if (place_fds(start->spec)) {
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, no_signals, NULL, SIGNAL_SET_BYTES);
        syscall(SYS_execve, start->program, start->argv, start->environment);
    }
    start->problem = errno;
    syscall(SYS_exit_group, 127);
    return 127;
}

/* ---- in the daemon ---- */

/* Fills what the child cannot compute. */
static void start_prepare(Start *start, const ChildSpec *spec)
{
    const Policy *policy = &policies[spec->kind];
    const int score = child_oom_score_adj(spec->kind, spec->pod_oom_score_adj);

    start->spec = spec;
    start->argv = (char *const *)(void *)spec->argv;
    start->score_length = (gsize)g_snprintf(start->score, sizeof start->score, "%d", score);
    start->score_is_negative = score < 0;
    if (policy->niceness != 0)
        start->niceness = MIN(getpriority(PRIO_PROCESS, 0) + policy->niceness, LOWEST_PRIORITY);
    start->core = (struct rlimit){policy->core, policy->core};
}

/* The calling thread waits until the program runs or has failed to. */
static gboolean start_child(Start *start, char *stack, pid_t *ret_pid, GError **error)
{
    sigset_t all;
    sigset_t before;
    pid_t pid;
    int problem;

    /* A handler of the daemon must not run in the child. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid = clone(child_main, stack, CLONE_FLAGS, start);
    problem = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return fail(error, STATUS_INTERNAL, "cannot run %s: %s", start->spec->argv[0], g_strerror(problem));
    if (start->problem != 0) {
        TEMP_FAILURE_RETRY(waitpid(pid, NULL, 0));
        return fail(error, STATUS_INTERNAL, "cannot run %s: %s", start->spec->argv[0],
                    g_strerror(start->problem));
    }
    *ret_pid = pid;
    return TRUE;
}

gboolean child_spawn(const ChildSpec *spec, pid_t *ret_pid, GError **error)
{
    g_auto(GStrv) environment = spec->environment == NULL ? child_environment(spec->kind) : NULL;
    g_autofree char *program =
        strchr(spec->argv[0], '/') != NULL ? g_strdup(spec->argv[0]) : g_find_program_in_path(spec->argv[0]);
    gboolean good;
    char *memory;
    Start *start;

    if (program == NULL)
        return fail(error, STATUS_INTERNAL, "cannot run %s: %s", spec->argv[0], g_strerror(ENOENT));
    /* Shared, so that the child's problem is seen whether or not it shares the daemon's memory. */
    memory = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return fail_errno(error, errno, "cannot run %s", spec->argv[0]);
    start = (Start *)(void *)memory;
    start_prepare(start, spec);
    start->program = program;
    start->environment = environment != NULL ? environment : (char *const *)(void *)spec->environment;
    good = start_child(start, memory + STACK_BYTES, ret_pid, error);
    munmap(memory, STACK_BYTES);
    return good;
}

/* ---- processes that run already ---- */

static void score_put(pid_t pid, int score)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/oom_score_adj", (int)pid);
    g_autofree char *text = g_strdup_printf("%d", score);
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, text, strlen(text)) < 0 && score < 0)
        (void)!write(fd, "0", 1); /* without CAP_SYS_RESOURCE */
    close(fd);
}

/* Threads that the process starts later inherit the priority. */
static void niceness_put(pid_t pid, int niceness)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)pid);
    g_autoptr(GDir) tasks = g_dir_open(path, 0, NULL);
    const int wanted = MIN(getpriority(PRIO_PROCESS, 0) + niceness, LOWEST_PRIORITY);
    const char *task;

    while (tasks != NULL && (task = g_dir_read_name(tasks)) != NULL)
        setpriority(PRIO_PROCESS, (id_t)g_ascii_strtoull(task, NULL, 10), wanted);
}

static void adjust_one(pid_t pid, ChildKind kind, int score)
{
    score_put(pid, score);
    if (policies[kind].niceness != 0)
        niceness_put(pid, policies[kind].niceness);
}

/* A child that the process forks after it has been adjusted inherits what it needs. */
void child_adjust(pid_t pid, ChildKind kind, int pod_oom_score_adj)
{
    const int score = child_oom_score_adj(kind, pod_oom_score_adj);
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children", (int)pid, (int)pid);
    g_autofree char *list = NULL;
    char *at;

    if (pid <= 0)
        return;
    adjust_one(pid, kind, score);
    if (!file_read(path, LIST_MAX_BYTES, &list, NULL, NULL))
        return;
    at = list;
    for (pid_t child; (child = (pid_t)strtol(at, &at, 10)) > 0;)
        adjust_one(child, kind, score);
}

static IN_CHILD void in_forked_child(void)
{
    write_score("0", 1, FALSE);
}

void child_watch_forks(void)
{
    static gsize is_done;

    if (g_once_init_enter(&is_done)) {
        pthread_atfork(NULL, NULL, in_forked_child);
        g_once_init_leave(&is_done, 1);
    }
}

static Metric deaths = METRIC_COUNTER(
    "crivirt_child_deaths_total", "Programs of crivirtd that died without being asked to, by kind.", "kind");

void child_count_death(ChildKind kind)
{
    static const char *const names[CHILD_KINDS] = {
#define CHILD(name, oom_score_adj, niceness, core, environment) #name,
#include "common/children.def"
    };

    metric_add(&deaths, 1, names[kind], NULL);
}
