/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/node_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/major.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"

enum { LIST_MAX_BYTES = 64 << 10, LOOP_CONTROL_MINOR = 237 };

/* For a process without the right to mount: whether the module is loaded. */
static gboolean is_loaded(const char *file_system)
{
    g_autofree char *line = g_strdup_printf("\t%s\n", file_system);
    g_autofree char *list = NULL;

    return file_read("/proc/filesystems", LIST_MAX_BYTES, &list, NULL, NULL) && strstr(list, line) != NULL;
}

static gboolean has_file_system(const char *file_system)
{
    int fd = fsopen(file_system, FSOPEN_CLOEXEC);

    if (fd < 0)
        return errno != ENODEV && is_loaded(file_system);
    close(fd);
    return TRUE;
}

/* Return: FALSE with errno set, or with errno 0 when the path is another file. */
static gboolean has_loop(const char *control)
{
    int fd = open(control, O_RDWR | O_CLOEXEC);
    struct stat status;
    gboolean good;

    if (fd < 0)
        return FALSE;
    good = fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) &&
           status.st_rdev == makedev(MISC_MAJOR, LOOP_CONTROL_MINOR);
    close(fd);
    errno = 0;
    return good;
}

gboolean node_kernel_check(const char *file_system, const char *loop_control, GError **error)
{
    if (!has_file_system(file_system))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "host pods need the file system %s for image layers, which the node's kernel does not "
                    "have: load its "
                    "module (modprobe %s), or use a kernel that has it",
                    file_system, file_system);
    if (!has_loop(loop_control))
        return fail(
            error, STATUS_FAILED_PRECONDITION,
            "host pods need loop devices for image layers, but %s: %s: load the module (modprobe loop), or "
            "use a kernel that has it",
            loop_control, errno != 0 ? g_strerror(errno) : "not the control device of loop devices");
    return TRUE;
}
