/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/volumes/mount_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/error.h"
#include "common/open_inside.h"

typedef struct {
    pid_t pid;
    int tree;         /* -1: detach */
    const char *path; /* what is detached */
    const char *root; /* the mount goes to name below it */
    const char *name;
    int entering; /* errno of entering the namespace; 0: entered */
    int problem;  /* errno of the mount or unmount; 0: done */
} Job;

static int enter_namespace(pid_t pid)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/ns/mnt", (int)pid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    int problem = 0;

    /* setns(2) refuses a thread that shares its root and working directory with others. */
    if (fd < 0 || unshare(CLONE_FS) != 0 || setns(fd, CLONE_NEWNS) != 0)
        problem = errno;
    if (fd >= 0)
        close(fd);
    return problem;
}

/* Return: 0 or an errno. */
static int move_below(int tree, const char *root, const char *name)
{
    int from = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int target = from >= 0 ? open_inside(from, name, O_PATH | O_NOFOLLOW,
                                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)
                           : -1;
    int problem = 0;

    if (target < 0 ||
        move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        problem = errno;
    if (target >= 0)
        close(target);
    if (from >= 0)
        close(from);
    return problem;
}

static void run_job_in_namespace(Job *job)
{
    if (job->tree >= 0)
        job->problem = move_below(job->tree, job->root, job->name);
    else
        job->problem = umount2(job->path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ? 0 : errno;
}

static gpointer job_thread(gpointer data)
{
    Job *job = data;

    job->entering = enter_namespace(job->pid);
    if (job->entering == 0)
        run_job_in_namespace(job);
    return NULL;
}

static void run_job(Job *job)
{
    if (job->pid == 0)
        run_job_in_namespace(job);
    else
        g_thread_join(g_thread_new("mount-namespace", job_thread, job));
}

gboolean mount_namespace_move(pid_t pid, int tree, const char *root, const char *name, GError **error)
{
    Job job = {.pid = pid, .tree = tree, .root = root, .name = name};

    run_job(&job);
    if (job.entering != 0)
        return fail_errno(error, job.entering, "cannot enter the mount namespace of process %d", (int)pid);
    if (job.problem != 0)
        return fail_errno(error, job.problem, "cannot mount at %s in %s", name, root);
    return TRUE;
}

gboolean mount_namespace_detach(pid_t pid, const char *path, GError **error)
{
    Job job = {.pid = pid, .tree = -1, .path = path};

    run_job(&job);
    if (job.entering != 0 && job.entering != ENOENT && job.entering != ESRCH)
        return fail_errno(error, job.entering, "cannot enter the mount namespace of process %d", (int)pid);
    if (job.problem != 0 && job.problem != EINVAL && job.problem != ENOENT)
        return fail_errno(error, job.problem, "cannot unmount %s", path);
    return TRUE;
}
