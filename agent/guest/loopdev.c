/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/loopdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { TRIES = 64, LOOP_MAJOR = 7 };

/* Opens the device. Where no devtmpfs or udev makes its node, this makes it, or another program at the same
 * time. */
static int open_device(int number, char *ret_node, size_t room)
{
    snprintf(ret_node, room, "/dev/loop%d", number);
    int fd = open(ret_node, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT &&
        (mknod(ret_node, S_IFBLK | 0660, makedev(LOOP_MAJOR, number)) == 0 || errno == EEXIST))
        fd = open(ret_node, O_RDONLY | O_CLOEXEC);
    return fd;
}

/* Configures a free device; tries again when another program takes the device before it is opened. */
static int configure_any(int file, char *ret_node, size_t room)
{
    const struct loop_config config = {.fd = (__u32)file,
                                       .info = {.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR}};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), device = -1, problem = errno;

    for (int i = 0; control >= 0 && device < 0 && i < TRIES; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        device = number >= 0 ? open_device(number, ret_node, room) : -1;
        problem = errno;
        if (device < 0)
            break;
        if (ioctl(device, LOOP_CONFIGURE, &config) < 0) {
            problem = errno;
            close(device);
            device = -1;
            if (problem != EBUSY)
                break;
        }
    }
    if (control >= 0)
        close(control);
    errno = problem;
    return device;
}

int loopdev_open(const char *path, char *ret_node, size_t room, Fault *ret_fault)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        fault_errno(ret_fault, "opening the layer file %s", path);
        return -1;
    }
    int device = configure_any(file, ret_node, room);
    if (device < 0)
        fault_errno(ret_fault,
                    "making a loop device of the layer file %s (the node's kernel needs the loop driver)",
                    path);
    close(file);
    return device;
}
