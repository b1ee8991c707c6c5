/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fileio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/open_inside.h"

enum { COPY_STEP_BYTES = 16 << 20 }; /* between two looks whether the caller waits */

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

gboolean file_write_all(int fd, const void *data, gsize length)
{
    const char *rest = data;

    while (length > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(write(fd, rest, length));

        if (written < 0)
            return FALSE;
        rest += written;
        length -= (gsize)written;
    }
    return TRUE;
}

gboolean file_write_at(int fd, const void *data, gsize length, goffset offset)
{
    const char *rest = data;

    while (length > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(pwrite(fd, rest, length, offset));

        if (written <= 0)
            return FALSE;
        rest += written;
        offset += written;
        length -= (gsize)written;
    }
    return TRUE;
}

gboolean file_read_at(int fd, void *ret_data, gsize length, goffset offset)
{
    char *rest = ret_data;

    while (length > 0) {
        ssize_t got = TEMP_FAILURE_RETRY(pread(fd, rest, length, (off_t)offset));

        if (got <= 0) {
            errno = got == 0 ? EIO : errno;
            return FALSE;
        }
        rest += got;
        length -= (gsize)got;
        offset += got;
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
    if (fchmod(fd, (mode_t)mode) != 0 || !file_write_all(fd, data, length) || fsync(fd) != 0 ||
        rename(temporary, path) != 0) {
        int errnum = errno;

        unlink(temporary);
        return fail_errno(error, errnum, "cannot write %s", path);
    }
    return dir_sync(directory, error);
}

/* Copies one extent: in the kernel where it can, otherwise through a buffer. Return: FALSE with errno,
 * ETIMEDOUT when the caller does not wait any more. */
static gboolean copy_extent(int from, int to, off_t start, off_t end, const Deadline *deadline)
{
    while (start < end) {
        off_t source = start;
        off_t target = start;
        size_t length = MIN((size_t)(end - start), COPY_STEP_BYTES);
        ssize_t copied = copy_file_range(from, &source, to, &target, length, 0);

        if (copied < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
            char buffer[16384];

            copied = TEMP_FAILURE_RETRY(pread(from, buffer, MIN(sizeof buffer, length), start));
            if (copied > 0)
                copied = TEMP_FAILURE_RETRY(pwrite(to, buffer, (size_t)copied, start));
        }
        if (copied == 0)
            errno = EIO; /* the file was cut meanwhile */
        if (copied <= 0)
            return FALSE;
        start += copied;
        if (!deadline_check(deadline, "", NULL)) {
            errno = ETIMEDOUT;
            return FALSE;
        }
    }
    return TRUE;
}

/* Copies the data extents only, so that holes stay holes. */
static gboolean copy_extents(int from, int to, off_t size, const Deadline *deadline)
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
        if (!copy_extent(from, to, data, hole, deadline))
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

gboolean file_copy_sparse(const char *from, const char *to, int mode, const Deadline *deadline,
                          GError **error)
{
    g_auto(AutoFd) source = open(from, O_RDONLY | O_CLOEXEC);
    g_auto(AutoFd) target = -1;
    struct stat status;

    if (!deadline_check(deadline, "copying a file", error))
        return FALSE;
    if (source < 0 || fstat(source, &status) != 0)
        return fail_errno(error, errno, "cannot open %s", from);
    target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (target < 0)
        return fail_errno(error, errno, "cannot create %s", to);
    if (fchmod(target, (mode_t)mode) == 0 && ioctl(target, FICLONE, source) == 0)
        return TRUE;
    if (fchmod(target, (mode_t)mode) != 0 || ftruncate(target, status.st_size) != 0 ||
        !copy_extents(source, target, status.st_size, deadline)) {
        int errnum = errno;

        unlink(to);
        if (!deadline_check(deadline, "copying a file", error))
            return FALSE;
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
    return open_inside(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
                       RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS);
}

/* What is left to remove: a directory, and the number of the next name for what is moved up into it. */
typedef struct {
    int fd;
    guint64 serial;
} Removal;

static gboolean is_dots(const char *name)
{
    return g_str_equal(name, ".") || g_str_equal(name, "..");
}

/* Removes a file or an empty directory. Nothing is opened: an open of a FIFO or a device could wait.
 * Return: 0; ENOTEMPTY for a directory with entries; another errno. */
static int remove_entry(int parent, const char *name)
{
    int errnum = unlinkat(parent, name, 0) == 0 ? 0 : errno;

    if (errnum == EISDIR || errnum == EPERM || errnum == EBUSY)
        errnum = unlinkat(parent, name, AT_REMOVEDIR) == 0 ? 0 : errno == ENOTDIR ? errnum : errno;
    if (errnum == EEXIST)
        errnum = ENOTEMPTY;
    return errnum == ENOENT ? 0 : errnum;
}

/* Moves a directory up into the one that is being removed, under a new name. */
static int move_up(Removal *removal, int parent, const char *name)
{
    int errnum = EEXIST;

    while (errnum == EEXIST) {
        g_autofree char *moved = g_strdup_printf(".removed-%" G_GUINT64_FORMAT, removal->serial++);

        errnum = renameat2(parent, name, removal->fd, moved, RENAME_NOREPLACE) == 0 ? 0 : errno;
    }
    return errnum == ENOENT ? 0 : errnum;
}

/* Removes a directory that lies directly in the one that is being removed; its non-empty directories move up
 * first. */
static int remove_child(Removal *removal, const char *name)
{
    int fd = open_child(removal->fd, name);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    int errnum = directory == NULL && errno != ENOENT ? errno : 0;

    if (directory == NULL) {
        if (fd >= 0)
            close(fd);
        return errnum;
    }
    while (errnum == 0 && (entry = readdir(directory)) != NULL)
        if (!is_dots(entry->d_name) && (errnum = remove_entry(fd, entry->d_name)) == ENOTEMPTY)
            errnum = move_up(removal, fd, entry->d_name);
    closedir(directory);
    if (errnum == 0)
        errnum = remove_entry(removal->fd, name);
    /* readdir() may miss entries while others are removed: the next pass finds the directory again. */
    return errnum == ENOTEMPTY ? 0 : errnum;
}

/* Empties the directory behind fd, which it closes. Who made the tree may be hostile: two descriptors and no
 * recursion are enough for any depth, because directories move up before their parent is removed.
 * Return: 0 or an errno. */
static int empty_directory(int fd)
{
    Removal removal = {.fd = fd};
    DIR *directory = fdopendir(fd);
    gboolean found = TRUE;
    int errnum = 0;

    if (directory == NULL) {
        errnum = errno;
        close(fd);
        return errnum;
    }
    while (errnum == 0 && found) {
        struct dirent *entry;

        found = FALSE;
        rewinddir(directory);
        while (errnum == 0 && (entry = readdir(directory)) != NULL) {
            if (is_dots(entry->d_name))
                continue;
            found = TRUE;
            if ((errnum = remove_entry(fd, entry->d_name)) == ENOTEMPTY)
                errnum = remove_child(&removal, entry->d_name);
        }
    }
    closedir(directory);
    return errnum;
}

gboolean dir_remove_tree_at(int parent, const char *name, GError **error)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int errnum;

    if (fd < 0 && errno == ENOENT)
        return TRUE;
    if (fd < 0 && errno != ENOTDIR && errno != ELOOP)
        return fail_errno(error, errno, "cannot open %s to remove it", name);
    errnum = fd >= 0 ? empty_directory(fd) : 0;
    if (errnum == 0)
        errnum = remove_entry(parent, name);
    return errnum == 0 || fail_errno(error, errnum, "cannot remove %s", name);
}

gboolean dir_remove_tree(const char *path, GError **error)
{
    return dir_remove_tree_at(AT_FDCWD, path, error);
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
