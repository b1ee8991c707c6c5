/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cni-bridge/netlink.h"
#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/lock_assert.h"
#include "common/mountinfo.h"

enum { LINE_BYTES = 8192 };

/* One thread at a time mounts or unmounts a directory of namespaces. */
static GMutex directory_lock;

gboolean netns_exists(const char *path)
{
    struct statfs fs;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    gboolean exists;

    if (fd < 0)
        return FALSE;
    exists = fstatfs(fd, &fs) == 0 && fs.f_type == NSFS_MAGIC && ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
    close(fd);
    return exists;
}

typedef struct {
    gboolean shared;  /* new mounts below it reach other mount namespaces */
    gboolean is_self; /* the directory bound over itself */
} DirectoryMount;

/* The mount that the directory (an absolute path without links) is on; all FALSE when that is not known. */
static DirectoryMount directory_mount(const char *directory)
{
    DirectoryMount result = {0};
    g_autoptr(MountTable) table = mount_table_read(NULL, NULL);
    const Mount *mount = table != NULL ? mount_table_find_path(table, directory, FALSE) : NULL;

    if (mount == NULL)
        return result;
    result.shared = mount->shared;
    result.is_self = strcmp(mount->target, directory) == 0 && strcmp(mount->root, "/") != 0 &&
                     g_str_has_suffix(directory, mount->root);
    return result;
}

/* Namespaces mounted below must appear in mount namespaces that exist already (of a CNI daemon's container
 * with this directory in it), and disappear there too, or the kernel keeps them alive. With systemd every
 * mount is shared already; elsewhere the directory becomes a shared mount of its own. */
static gboolean directory_share_locked(const char *directory, GError **error)
{
    DirectoryMount mounted = directory_mount(directory);

    LOCK_ASSERT_HELD(&directory_lock);
    if (mounted.shared)
        return TRUE;
    if (!mounted.is_self && mount(directory, directory, NULL, MS_BIND | MS_REC, NULL) != 0)
        return fail_errno(error, errno, "cannot bind %s over itself", directory);
    if (mount(NULL, directory, NULL, MS_SHARED, NULL) != 0)
        return fail_errno(error, errno, "cannot share %s", directory);
    return TRUE;
}

static gboolean directory_is_empty(const char *directory)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);

    return dir != NULL && g_dir_read_name(dir) == NULL;
}

/* Undoes directory_share_locked() with the last namespace; a failure (busy) does no harm. */
static void directory_unshare(const char *directory)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&directory_lock);

    if (directory_mount(directory).is_self && directory_is_empty(directory))
        umount2(directory, UMOUNT_NOFOLLOW);
}

/* Return: the directory of path by its name in mountinfo; NULL when it does not exist. */
static char *directory_of(const char *path)
{
    g_autofree char *parent = g_path_get_dirname(path);
    char *real = realpath(parent, NULL);
    char *copy = g_strdup(real);

    free(real);
    return copy;
}

typedef struct {
    const char *path;
    GError *error;
} CreateJob;

/* Runs in a thread of its own, because it leaves the namespace of its thread. */
static gpointer create_inside(gpointer data)
{
    CreateJob *job = data;
    g_autoptr(NetlinkSocket) netlink = NULL;

    if (unshare(CLONE_NEWNET) != 0) {
        fail_errno(&job->error, errno, "cannot create a network namespace");
        return NULL;
    }
    netlink = netlink_open("", &job->error);
    if (netlink == NULL || !netlink_link_set_up(netlink, "lo", 0, &job->error))
        return NULL;
    if (mount("/proc/thread-self/ns/net", job->path, NULL, MS_BIND, NULL) != 0)
        fail_errno(&job->error, errno, "cannot mount it");
    return NULL;
}

static gboolean mount_point_make(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);

    if (fd < 0)
        return fail_errno(error, errno, "cannot make %s", path);
    close(fd);
    /* A crash between making the file and mounting the namespace leaves an ordinary file. */
    if (netns_exists(path))
        return fail(error, STATUS_ALREADY_EXISTS, "network namespace %s exists already", path);
    return TRUE;
}

/* Both at once: between them another thread, which deletes the last namespace, would find the directory empty
 * and unshare it. */
static gboolean place_make(const char *directory, const char *path, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&directory_lock);

    return directory_share_locked(directory, error) && mount_point_make(path, error);
}

gboolean netns_create(const char *path, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(path);
    g_autofree char *directory = NULL;
    CreateJob job = {.path = path};
    GThread *thread;

    if (!dir_make(parent, 0700, error))
        return FALSE;
    directory = directory_of(path);
    if (directory == NULL)
        return fail_errno(error, errno, "cannot find %s", parent);
    if (!place_make(directory, path, error))
        return FALSE;
    thread = g_thread_try_new("netns", create_inside, &job, &job.error);
    if (thread != NULL)
        g_thread_join(thread);
    if (job.error == NULL)
        return TRUE;
    error_adopt(&job.error);
    g_propagate_prefixed_error(error, job.error, "network namespace %s: ", path);
    netns_delete(path, NULL);
    return FALSE;
}

gboolean netns_delete(const char *path, GError **error)
{
    g_autofree char *directory = directory_of(path);

    if (directory == NULL)
        return TRUE;
    /* Lazily, because processes may be inside; as often as it was mounted. */
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        continue;
    if (errno != EINVAL && errno != ENOENT)
        return fail_errno(error, errno, "cannot unmount network namespace %s", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return fail_errno(error, errno, "cannot remove network namespace %s", path);
    directory_unshare(directory);
    return TRUE;
}

typedef struct {
    int fd;
    gboolean (*function)(gpointer data, GError **error);
    gpointer data;
    gboolean good;
    GError *error;
} InsideJob;

/* Runs in a thread of its own, because it leaves the namespace of its thread. */
static gpointer run_inside(gpointer data)
{
    InsideJob *job = data;

    if (setns(job->fd, CLONE_NEWNET) == 0)
        job->good = job->function(job->data, &job->error);
    else
        fail_errno(&job->error, errno, "cannot enter the network namespace");
    return NULL;
}

gboolean netns_run(const char *path, gboolean (*function)(gpointer data, GError **error), gpointer data,
                   GError **error)
{
    InsideJob job = {.fd = open(path, O_RDONLY | O_CLOEXEC), .function = function, .data = data};
    GThread *thread;

    if (job.fd < 0)
        return fail_errno(error, errno, "cannot open network namespace %s", path);
    thread = g_thread_try_new("netns", run_inside, &job, &job.error);
    if (thread != NULL)
        g_thread_join(thread);
    close(job.fd);
    if (job.good)
        return TRUE;
    error_adopt(&job.error);
    g_propagate_prefixed_error(error, job.error, "%s: ", path);
    return FALSE;
}
