/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/block_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/error.h"

enum { LOOP_TRIES = 16, SECTOR_BYTES = 512 };

gboolean block_device_find(const char *host_path, gboolean files, BlockDevice *ret_device)
{
    struct stat status;

    if (*host_path != '/' || stat(host_path, &status) != 0 ||
        !(S_ISBLK(status.st_mode) || (files && S_ISREG(status.st_mode))))
        return FALSE;
    *ret_device = (BlockDevice){
        .is_file = S_ISREG(status.st_mode),
        .device = S_ISREG(status.st_mode) ? status.st_dev : status.st_rdev,
        .inode = S_ISREG(status.st_mode) ? status.st_ino : 0,
        .mode = status.st_mode & 0777,
        .uid = status.st_uid,
        .gid = status.st_gid,
    };
    return TRUE;
}

char *block_device_key(const BlockDevice *device, gboolean readonly)
{
    const char *access = readonly ? "ro" : "rw";

    /* Digests of layers, which are keys as well, begin otherwise. */
    if (device->is_file)
        return g_strdup_printf("file %u:%u %" G_GUINT64_FORMAT " %s", major(device->device),
                               minor(device->device), (guint64)device->inode, access);
    return g_strdup_printf("block %u:%u %s", major(device->device), minor(device->device), access);
}

gboolean block_device_is_key(const char *key)
{
    return g_str_has_prefix(key, "block ") || g_str_has_prefix(key, "file ");
}

gboolean block_device_size(const char *host_path, guint64 *ret_bytes, GError **error)
{
    int fd = open(host_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    guint64 bytes = 0;
    gboolean good = fd >= 0 && fstat(fd, &status) == 0 &&
                    (!S_ISBLK(status.st_mode) || ioctl(fd, BLKGETSIZE64, &bytes) == 0);

    if (!good)
        fail_errno(error, errno, "cannot read the size of %s", host_path);
    if (fd >= 0)
        close(fd);
    if (!good)
        return FALSE;
    *ret_bytes = S_ISBLK(status.st_mode) ? bytes : (guint64)status.st_size & ~(guint64)(SECTOR_BYTES - 1);
    return TRUE;
}

gboolean block_device_hold(const char *host_path, const BlockDevice *device, int *ret_hold, GError **error)
{
    int fd = open(host_path, O_RDONLY | O_CLOEXEC | (device->is_file ? 0 : O_EXCL));
    gboolean busy = fd < 0 && errno == EBUSY;

    if (fd < 0 && !busy)
        return fail_errno(error, errno, "cannot open %s", host_path);
    if (fd >= 0 && device->is_file && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        busy = TRUE;
        close(fd);
    }
    if (busy)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "%s is in use on this node: it is mounted, or a program has it for itself alone",
                    host_path);
    *ret_hold = fd;
    return TRUE;
}

/* ---- loop devices ---- */

static int loop_configure(const char *name, int file, gboolean readonly)
{
    struct loop_config config = {
        .fd = (guint32)file,
        /* AUTOCLEAR: the loop device ends with its last user, also when this process is killed. */
        .info = {.lo_flags = LO_FLAGS_AUTOCLEAR | (readonly ? LO_FLAGS_READ_ONLY : 0)},
    };
    int loop = open(name, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);

    if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) != 0) {
        int problem = errno;

        close(loop);
        errno = problem;
        loop = -1;
    }
    if (loop >= 0) /* bypasses the node's page cache where the file system allows it, as QEMU does */
        (void)!ioctl(loop, LOOP_SET_DIRECT_IO, 1UL);
    return loop;
}

/* Another process may take the free device first; then the next one is tried. */
static int loop_attach(int file, gboolean readonly)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int loop = -1;

    for (guint i = 0; control >= 0 && loop < 0 && i < LOOP_TRIES; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        g_autofree char *name = g_strdup_printf("/dev/loop%d", number);

        if (number < 0)
            break;
        loop = loop_configure(name, file, readonly);
        if (loop < 0 && errno != EBUSY)
            break;
    }
    if (control >= 0)
        close(control);
    return loop;
}

static gboolean loop_open(const char *host_path, gboolean readonly, int *ret_loop, GError **error)
{
    int file = open(host_path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    int loop;

    if (file < 0)
        return fail_errno(error, errno, "cannot open %s", host_path);
    loop = loop_attach(file, readonly);
    if (loop < 0)
        fail(error, STATUS_FAILED_PRECONDITION, "cannot get a loop device for the file %s: %s", host_path,
             g_strerror(errno));
    close(file);
    *ret_loop = loop;
    return loop >= 0;
}

/* ---- nodes ---- */

static gboolean node_make(dev_t device, const BlockDeviceNode *node, GError **error)
{
    mode_t mode = node->readonly ? 0400 : 0600;

    if ((unlink(node->path) != 0 && errno != ENOENT) || mknod(node->path, S_IFBLK | mode, device) != 0 ||
        chmod(node->path, mode) != 0 || lchown(node->path, node->uid, node->gid) != 0)
        return fail_errno(error, errno, "cannot make the device node %s", node->path);
    return TRUE;
}

gboolean block_device_make_node(const BlockDevice *device, const char *host_path, const BlockDeviceNode *node,
                                int *ret_hold, GError **error)
{
    struct stat status = {.st_rdev = device->device};
    int hold = -1;

    if (device->is_file && !loop_open(host_path, node->readonly, &hold, error))
        return FALSE;
    if ((hold >= 0 && fstat(hold, &status) != 0) || !node_make(status.st_rdev, node, error)) {
        if (hold >= 0)
            close(hold);
        return FALSE;
    }
    *ret_hold = hold;
    return TRUE;
}
