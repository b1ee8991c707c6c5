#include "sandbox/vmm/reaper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "sandbox/vmm/fsguard/standby.h"

enum { ORPHAN_CHECK_MS = 10 * 1000, ORPHAN_AGE_US = 60 * G_USEC_PER_SEC, CHILDREN_MAX_BYTES = 1 << 20 };

struct Reaper {
    GThread *thread;
    struct sigaction previous;
    gint stopping;
    GHashTable
        *strangers; /* pid -> gint64 *: since when a zombie of somebody else's is there; the thread's */
};

/* What the signal handler writes to; -1 while no reaper runs. */
static volatile sig_atomic_t wake_fd = -1;

static void wake(void)
{
    const guint64 one = 1;
    int fd = wake_fd;

    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: the thread is awake anyway */
}

static void on_sigchld(int signal_number)
{
    int saved = errno;

    (void)signal_number;
    wake();
    errno = saved;
}

static gboolean is_zombie(pid_t pid)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

/* A daemonized process has left our session; the QEMU that is only the launcher of one has not, and libvirt
 * waits for that itself. */
static gboolean is_ours(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *name = NULL;

    return getsid(pid) != getsid(0) && file_read(path, 64, &name, NULL, NULL) &&
           (g_str_has_prefix(name, "qemu-system") || g_str_has_prefix(name, "virtiofsd") ||
            g_str_has_prefix(name, "crivirt-fsguard") || g_str_has_prefix(name, STANDBY_NAME));
}

static gboolean is_forgotten(Reaper *reaper, pid_t pid)
{
    gint64 *since = g_hash_table_lookup(reaper->strangers, GINT_TO_POINTER(pid));
    gint64 now = g_get_monotonic_time();

    if (since != NULL)
        return now - *since > ORPHAN_AGE_US;
    since = g_new(gint64, 1);
    *since = now;
    g_hash_table_insert(reaper->strangers, GINT_TO_POINTER(pid), since);
    return FALSE;
}

static void look_at_child(Reaper *reaper, pid_t pid, GHashTable *strangers_seen)
{
    if (!is_zombie(pid))
        return;
    if (is_ours(pid) || is_forgotten(reaper, pid))
        waitpid(pid, NULL, WNOHANG);
    else
        g_hash_table_add(strangers_seen, GINT_TO_POINTER(pid));
}

static gboolean not_in(gpointer key, gpointer value, gpointer set)
{
    (void)value;
    return !g_hash_table_contains(set, key);
}

/* Children are listed per thread that made them (proc(5)); orphans come to any living one. waitid() for "any
 * child" will not do: one zombie of somebody else's hides all others. */
static void look_at_children(Reaper *reaper)
{
    g_autoptr(GDir) tasks = g_dir_open("/proc/self/task", 0, NULL);
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    const char *task;

    while (tasks != NULL && (task = g_dir_read_name(tasks)) != NULL) {
        g_autofree char *path = g_build_filename("/proc/self/task", task, "children", NULL);
        g_autofree char *list = NULL;
        char *at;

        if (!file_read(path, CHILDREN_MAX_BYTES, &list, NULL, NULL))
            continue;
        at = list;
        for (pid_t pid; (pid = (pid_t)strtol(at, &at, 10)) > 0;)
            look_at_child(reaper, pid, seen);
    }
    g_hash_table_foreach_remove(reaper->strangers, not_in, seen);
}

static gpointer reap(gpointer data)
{
    Reaper *reaper = data;
    struct pollfd woken = {.fd = wake_fd, .events = POLLIN};
    sigset_t only_child;

    sigemptyset(&only_child);
    sigaddset(&only_child, SIGCHLD);
    pthread_sigmask(SIG_UNBLOCK, &only_child, NULL);
    while (!g_atomic_int_get(&reaper->stopping)) {
        gboolean has_strangers;
        guint64 count;

        look_at_children(reaper);
        has_strangers = g_hash_table_size(reaper->strangers) != 0;
        if (poll(&woken, 1, has_strangers ? ORPHAN_CHECK_MS : -1) > 0 &&
            read(woken.fd, &count, sizeof(count)) < 0)
            continue; /* another wake-up took it */
    }
    return NULL;
}

Reaper *reaper_start(GError **error)
{
    struct sigaction action = {.sa_handler = on_sigchld, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    Reaper *reaper;
    int fd;

    if (wake_fd >= 0) {
        fail(error, STATUS_FAILED_PRECONDITION, "a reaper runs in this process already");
        return NULL;
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 || (fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        fail_errno(error, errno, "cannot become the reaper of QEMU processes");
        return NULL;
    }
    wake_fd = fd;
    reaper = g_new0(Reaper, 1);
    reaper->strangers = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    sigaction(SIGCHLD, &action, &reaper->previous);
    reaper->thread = g_thread_new("reaper", reap, reaper);
    return reaper;
}

void reaper_stop(Reaper *reaper)
{
    int fd = wake_fd;

    if (reaper == NULL)
        return;
    g_atomic_int_set(&reaper->stopping, TRUE);
    wake();
    g_thread_join(reaper->thread);
    sigaction(SIGCHLD, &reaper->previous, NULL);
    wake_fd = -1;
    close(fd);
    g_hash_table_unref(reaper->strangers);
    g_free(reaper);
}
