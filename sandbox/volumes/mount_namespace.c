/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/volumes/mount_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/mountinfo.h"
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

/* ---- copying ---- */

typedef struct {
    char *name; /* below the root */
    int tree;   /* detached */
} Copy;

static void copy_free(gpointer data)
{
    Copy *copy = data;

    if (copy->tree >= 0)
        close(copy->tree);
    g_free(copy->name);
    g_free(copy);
}

typedef struct {
    int namespace_fd;
    gboolean (*is_wanted)(const char *name);
    GPtrArray *copies; /* Copy */
    GError *error;
} CopyJob;

/* Return: the mounts of this thread's namespace, where nothing but the share is mounted. */
static MountTable *read_mounts(int proc, GError **error)
{
    int fd = openat(proc, "thread-self/mountinfo", O_RDONLY | O_CLOEXEC);
    g_autoptr(GString) text = g_string_new(NULL);
    char part[4096];
    ssize_t n = -1;

    while (fd >= 0 && (n = read(fd, part, sizeof(part))) > 0)
        g_string_append_len(text, part, n);
    if (n < 0)
        fail_errno(error, errno, "cannot read the mounts of the dead file server");
    if (fd >= 0)
        close(fd);
    return n < 0 ? NULL : mount_table_parse(text->str, text->len, error);
}

/* Whether another mount of the table has it below; a copy of that one contains it. */
static gboolean is_below_another(const MountTable *table, const char *target)
{
    for (guint i = 0; i < mount_table_length(table); i++) {
        const char *other = mount_table_at(table, i)->target;
        gsize length = strlen(other);

        if (length > 1 && strncmp(target, other, length) == 0 && target[length] == '/')
            return TRUE;
    }
    return FALSE;
}

static void copy_all(CopyJob *job, const MountTable *table)
{
    for (guint i = 0; i < mount_table_length(table); i++) {
        const char *target = mount_table_at(table, i)->target;
        int tree;

        if (g_str_equal(target, "/") || g_str_has_suffix(target, "//deleted") ||
            is_below_another(table, target))
            continue;
        if (!job->is_wanted(target + 1)) {
            fail(&job->error, STATUS_INTERNAL,
                 "the mount namespace of the dead file server has a mount at %s", target);
            return;
        }
        tree = open_tree(AT_FDCWD, target,
                         OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
        if (tree >= 0) {
            Copy *copy = g_new(Copy, 1);

            *copy = (Copy){g_strdup(target + 1), tree};
            g_ptr_array_add(job->copies, copy);
        } else if (errno != ENOENT) {
            fail_errno(&job->error, errno, "cannot copy the mount of %s of the dead file server", target);
            return;
        }
    }
}

static gboolean is_same_object(int fd, int other)
{
    struct stat one, two;

    return fstat(fd, &one) == 0 && fstat(other, &two) == 0 && one.st_dev == two.st_dev &&
           one.st_ino == two.st_ino;
}

/* Return: whether only root of the node can have mounted in the namespace. */
static gboolean is_of_root(int namespace_fd)
{
    int own = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    int owner = ioctl(namespace_fd, NS_GET_NSTYPE) == CLONE_NEWNS ? ioctl(namespace_fd, NS_GET_USERNS) : -1;
    gboolean is = own >= 0 && owner >= 0 && is_same_object(own, owner);

    if (own >= 0)
        close(own);
    if (owner >= 0)
        close(owner);
    return is;
}

static gpointer copy_thread(gpointer data)
{
    CopyJob *job = data;
    int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(MountTable) table = NULL;

    if (proc < 0 || unshare(CLONE_FS) != 0 || setns(job->namespace_fd, CLONE_NEWNS) != 0)
        fail_errno(&job->error, errno, "cannot enter the mount namespace of the dead file server");
    else if ((table = read_mounts(proc, &job->error)) != NULL)
        copy_all(job, table);
    if (proc >= 0)
        close(proc);
    return NULL;
}

gboolean mount_namespace_copy(int namespace_fd, pid_t pid, gboolean (*is_wanted)(const char *name),
                              GError **error)
{
    g_autoptr(GPtrArray) copies = g_ptr_array_new_with_free_func(copy_free);
    CopyJob job = {.namespace_fd = namespace_fd, .is_wanted = is_wanted, .copies = copies};

    if (!is_of_root(namespace_fd))
        return fail(error, STATUS_INTERNAL, "what fsguard has kept is no mount namespace of the node's root");
    g_thread_join(g_thread_new("mount-namespace", copy_thread, &job));
    if (job.error != NULL) {
        g_propagate_error(error, job.error);
        return FALSE;
    }
    for (guint i = 0; i < copies->len; i++) {
        const Copy *copy = copies->pdata[i];

        if (!mount_namespace_move(pid, copy->tree, "/", copy->name, error))
            return FALSE;
    }
    return TRUE;
}
