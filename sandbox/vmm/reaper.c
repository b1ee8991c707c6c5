/* SPDX-License-Identifier: Apache-2.0 */
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

enum { ENDS_MAX = 256 };

enum { ORPHAN_CHECK_MS = 10 * 1000, ORPHAN_AGE_US = 60 * G_USEC_PER_SEC, CHILDREN_MAX_BYTES = 1 << 20 };

typedef struct {
    pid_t pid;
    int signal_number; /* 0: it exited */
} ServerEnd;

struct Reaper {
    GMutex lock;
    GCond reaped;
    ServerEnd ends[ENDS_MAX]; /* a ring, protected by lock */
    guint n_ends;             /* how many there have been, protected by lock */

    GThread *thread;
    struct sigaction previous;
    gint stopping;
    GHashTable
        *foreign; /* pid -> gint64 *, since when a foreign child has been a zombie; only the thread uses it */
};

/* The eventfd that the signal handler writes to; -1 while no reaper runs. */
static volatile sig_atomic_t wake_fd = -1;

static void wake_thread(void)
{
    const guint64 one = 1;
    int fd = wake_fd;

    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: the thread has been woken already */
}

static void on_sigchld(int signal_number)
{
    int saved = errno;

    (void)signal_number;
    wake_thread();
    errno = saved;
}

static gboolean is_zombie(pid_t pid, ServerEnd *ret_end)
{
    siginfo_t info = {0};

    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != pid)
        return FALSE;
    *ret_end = (ServerEnd){pid, info.si_code == CLD_EXITED ? 0 : info.si_status};
    return TRUE;
}

/* A daemonized process has a session of its own. The QEMU process that launches it has not, and libvirt waits
 * for that one itself. */
static gboolean is_server(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *name = NULL;

    return getsid(pid) != getsid(0) && file_read(path, 64, &name, NULL, NULL) &&
           (g_str_has_prefix(name, "qemu-system") || g_str_has_prefix(name, "virtiofsd") ||
            g_str_has_prefix(name, "crivirt-fsguard") || g_str_has_prefix(name, STANDBY_NAME));
}

static gboolean is_forgotten(Reaper *reaper, pid_t pid)
{
    gint64 *since = g_hash_table_lookup(reaper->foreign, GINT_TO_POINTER(pid));
    gint64 now = g_get_monotonic_time();

    if (since != NULL)
        return now - *since > ORPHAN_AGE_US;
    since = g_new(gint64, 1);
    *since = now;
    g_hash_table_insert(reaper->foreign, GINT_TO_POINTER(pid), since);
    return FALSE;
}

static void reap_server(Reaper *reaper, const ServerEnd *end)
{
    g_mutex_lock(&reaper->lock);
    reaper->ends[reaper->n_ends++ % ENDS_MAX] = *end;
    waitpid(end->pid, NULL, WNOHANG);
    g_cond_broadcast(&reaper->reaped);
    g_mutex_unlock(&reaper->lock);
}

static void look_at_child(Reaper *reaper, pid_t pid, GHashTable *foreign_seen)
{
    ServerEnd end;

    if (!is_zombie(pid, &end))
        return;
    if (is_server(pid))
        reap_server(reaper, &end);
    else if (is_forgotten(reaper, pid))
        waitpid(pid, NULL, WNOHANG);
    else
        g_hash_table_add(foreign_seen, GINT_TO_POINTER(pid));
}

static gboolean not_in(gpointer key, gpointer value, gpointer set)
{
    (void)value;
    return !g_hash_table_contains(set, key);
}

/* proc(5) lists children by the thread that made them; orphans become children of any thread that lives.
 * waitid() for any child is of no use, because one foreign zombie hides all others. */
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
    g_hash_table_foreach_remove(reaper->foreign, not_in, seen);
}

static gpointer reaper_thread(gpointer data)
{
    Reaper *reaper = data;
    struct pollfd woken = {.fd = wake_fd, .events = POLLIN};
    sigset_t only_child;

    sigemptyset(&only_child);
    sigaddset(&only_child, SIGCHLD);
    pthread_sigmask(SIG_UNBLOCK, &only_child, NULL);
    while (!g_atomic_int_get(&reaper->stopping)) {
        gboolean has_foreign;
        guint64 count;

        look_at_children(reaper);
        has_foreign = g_hash_table_size(reaper->foreign) != 0;
        if (poll(&woken, 1, has_foreign ? ORPHAN_CHECK_MS : -1) > 0 &&
            read(woken.fd, &count, sizeof(count)) < 0)
            continue; /* it was read already */
    }
    return NULL;
}

Reaper *reaper_start(GError **error)
{
    struct sigaction action = {.sa_handler = on_sigchld, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    Reaper *reaper;
    int fd;

    if (wake_fd >= 0) {
        fail(error, STATUS_FAILED_PRECONDITION,
             "cannot start the reaper of QEMU processes: this process has one already");
        return NULL;
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 || (fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        fail_errno(error, errno, "cannot become the reaper of QEMU processes");
        return NULL;
    }
    wake_fd = fd;
    reaper = g_new0(Reaper, 1);
    g_mutex_init(&reaper->lock);
    g_cond_init(&reaper->reaped);
    reaper->foreign = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    sigaction(SIGCHLD, &action, &reaper->previous);
    reaper->thread = g_thread_new("reaper", reaper_thread, reaper);
    return reaper;
}

/* Process ids are used again, so the latest end counts. */
static const ServerEnd *find_end_locked(const Reaper *reaper, pid_t pid)
{
    for (guint i = 0; i < MIN(reaper->n_ends, ENDS_MAX); i++) {
        const ServerEnd *end = &reaper->ends[(reaper->n_ends - 1 - i) % ENDS_MAX];

        if (end->pid == pid)
            return end;
    }
    return NULL;
}

static gboolean is_child(pid_t pid)
{
    siginfo_t info;

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

gboolean reaper_find_end(Reaper *reaper, pid_t pid, guint timeout_ms, int *ret_signal)
{
    gint64 until_us = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
    const ServerEnd *end;
    gboolean found;

    g_mutex_lock(&reaper->lock);
    while ((end = find_end_locked(reaper, pid)) == NULL && is_child(pid) &&
           g_cond_wait_until(&reaper->reaped, &reaper->lock, until_us))
        continue;
    found = end != NULL;
    if (found)
        *ret_signal = end->signal_number;
    g_mutex_unlock(&reaper->lock);
    return found;
}

void reaper_stop(Reaper *reaper)
{
    int fd = wake_fd;

    if (reaper == NULL)
        return;
    g_atomic_int_set(&reaper->stopping, TRUE);
    wake_thread();
    g_thread_join(reaper->thread);
    sigaction(SIGCHLD, &reaper->previous, NULL);
    wake_fd = -1;
    close(fd);
    g_hash_table_unref(reaper->foreign);
    g_mutex_clear(&reaper->lock);
    g_cond_clear(&reaper->reaped);
    g_free(reaper);
}
