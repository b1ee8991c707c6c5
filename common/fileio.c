/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fileio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/error.h"

typedef int AutoFd;

static void auto_fd_clear(AutoFd *fd)
{
    if (*fd >= 0)
        close(*fd);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AutoFd, auto_fd_clear)

gboolean file_read(const char *path, gsize max_bytes, char **ret_data, gsize *ret_length, GError **error)
{
    g_auto(AutoFd) fd = open(path, O_RDONLY | O_CLOEXEC);
    g_autoptr(GByteArray) data = g_byte_array_new();
    guint8 buffer[16384];
    ssize_t got;

    if (fd < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    while ((got = TEMP_FAILURE_RETRY(read(fd, buffer, sizeof buffer))) > 0) {
        if (data->len + (gsize)got > max_bytes)
            return fail(error, STATUS_RESOURCE_EXHAUSTED, "%s is larger than %zu bytes", path, max_bytes);
        g_byte_array_append(data, buffer, (guint)got);
    }
    if (got < 0)
        return fail_errno(error, errno, "cannot read %s", path);
    if (ret_length != NULL)
        *ret_length = data->len;
    g_byte_array_append(data, (const guint8 *)"", 1);
    *ret_data = (char *)g_byte_array_free(g_steal_pointer(&data), FALSE);
    return TRUE;
}

static gboolean write_all(int fd, const char *data, gsize length)
{
    while (length > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(write(fd, data, length));

        if (written < 0)
            return FALSE;
        data += written;
        length -= (gsize)written;
    }
    return TRUE;
}

static gboolean dir_sync(const char *path, GError **error)
{
    g_auto(AutoFd) fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0)
        return fail_errno(error, errno, "cannot sync directory %s", path);
    return TRUE;
}

gboolean file_write_atomic(const char *path, const void *data, gsize length, int mode, GError **error)
{
    g_autofree char *temporary = g_strdup_printf("%s.XXXXXX", path);
    g_autofree char *directory = g_path_get_dirname(path);
    g_auto(AutoFd) fd = mkostemp(temporary, O_CLOEXEC);

    if (fd < 0)
        return fail_errno(error, errno, "cannot create a file beside %s", path);
    if (fchmod(fd, (mode_t)mode) != 0 || !write_all(fd, data, length) || fsync(fd) != 0 ||
        rename(temporary, path) != 0) {
        int errnum = errno;

        unlink(temporary);
        return fail_errno(error, errnum, "cannot write %s", path);
    }
    return dir_sync(directory, error);
}

/* Copies one extent: in the kernel where it can, otherwise through a buffer. */
static gboolean copy_extent(int from, int to, off_t start, off_t end)
{
    while (start < end) {
        off_t source = start;
        off_t target = start;
        ssize_t copied = copy_file_range(from, &source, to, &target, (size_t)(end - start), 0);

        if (copied < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
            char buffer[16384];

            copied = TEMP_FAILURE_RETRY(pread(from, buffer, MIN(sizeof buffer, (gsize)(end - start)), start));
            if (copied > 0)
                copied = TEMP_FAILURE_RETRY(pwrite(to, buffer, (size_t)copied, start));
        }
        if (copied == 0)
            errno = EIO; /* the file was cut meanwhile */
        if (copied <= 0)
            return FALSE;
        start += copied;
    }
    return TRUE;
}

/* Copies the data extents only, so that holes stay holes. */
static gboolean copy_extents(int from, int to, off_t size)
{
    off_t data = 0;

    while (data < size) {
        off_t hole;

        data = lseek(from, data, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO; /* only a hole is left */
        hole = lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            return FALSE;
        if (!copy_extent(from, to, data, hole))
            return FALSE;
        data = hole;
    }
    return TRUE;
}

gboolean file_make_private(const char *path, GError **error)
{
    g_auto(AutoFd) fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || fchmod(fd, 0600) != 0)
        return fail_errno(error, errno, "cannot create %s", path);
    return TRUE;
}

gboolean file_copy_sparse(const char *from, const char *to, int mode, GError **error)
{
    g_auto(AutoFd) source = open(from, O_RDONLY | O_CLOEXEC);
    g_auto(AutoFd) target = -1;
    struct stat status;

    if (source < 0 || fstat(source, &status) != 0)
        return fail_errno(error, errno, "cannot open %s", from);
    target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (target < 0)
        return fail_errno(error, errno, "cannot create %s", to);
    if (fchmod(target, (mode_t)mode) == 0 && ioctl(target, FICLONE, source) == 0)
        return TRUE;
    if (fchmod(target, (mode_t)mode) != 0 || ftruncate(target, status.st_size) != 0 ||
        !copy_extents(source, target, status.st_size)) {
        int errnum = errno;

        unlink(to);
        return fail_errno(error, errnum, "cannot copy %s to %s", from, to);
    }
    return TRUE;
}

gboolean dir_make(const char *path, int mode, GError **error)
{
    if (g_mkdir_with_parents(path, mode) != 0)
        return fail_errno(error, errno, "cannot create directory %s", path);
    return TRUE;
}

/* A directory, but no link and no mount point: st_dev does not differ for a bind mount of the same file
 * system, which is what a volume on the node's own disk is. */
static int open_child(int parent, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
    };

    return (int)syscall(SYS_openat2, parent, name, &how, sizeof how);
}

/* Empties the directory behind fd, which it closes. */
static gboolean empty_directory(int fd)
{
    DIR *directory = fdopendir(fd);
    struct dirent *entry;
    gboolean done = TRUE;

    if (directory == NULL) {
        close(fd);
        return FALSE;
    }
    while (done && (entry = readdir(directory)) != NULL) {
        int child;

        if (g_str_equal(entry->d_name, ".") || g_str_equal(entry->d_name, ".."))
            continue;
        if (unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM && errno != EBUSY) {
            done = FALSE;
            break;
        }
        child = open_child(fd, entry->d_name);
        if (child < 0) {
            done = errno == ENOENT;
            continue;
        }
        done = empty_directory(child) && (unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT);
    }
    int errnum = errno;

    closedir(directory);
    errno = errnum;
    return done;
}

gboolean dir_remove_tree(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return TRUE;
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
        if (unlink(path) != 0 && errno != ENOENT)
            return fail_errno(error, errno, "cannot remove %s", path);
        return TRUE;
    }
    if (fd < 0)
        return fail_errno(error, errno, "cannot open %s to remove it", path);
    if (!empty_directory(fd) || (rmdir(path) != 0 && errno != ENOENT))
        return fail_errno(error, errno, "cannot remove %s", path);
    return TRUE;
}

gboolean file_lock(const char *path, int *ret_fd, GError **error)
{
    g_auto(AutoFd) fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char text[32] = "";

    if (fd < 0)
        return fail_errno(error, errno, "cannot open the lock file %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return fail_errno(error, errno, "cannot lock %s", path);
        if (pread(fd, text, sizeof text - 1, 0) < 0)
            text[0] = '\0';
        return fail(error, STATUS_UNAVAILABLE, "%s is locked by another process%s%s", path,
                    text[0] != '\0' ? ", pid " : "", g_strchomp(text));
    }
    g_snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, strlen(text), 0) < 0)
        return fail_errno(error, errno, "cannot write %s", path);
    *ret_fd = g_steal_fd(&fd);
    return TRUE;
}
