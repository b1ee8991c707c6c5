/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/volumes/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"

/* The child makes system calls only: it is a copy of one thread, and locks of the others may be held for
 * ever. */
static _Noreturn void idle(void)
{
    for (;;)
        syscall(SYS_rt_sigsuspend, &(sigset_t){0}, 8);
}

static gboolean map_write(pid_t pid, const char *file, const Runtime__V1__IDMapping *mapping, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, file);
    g_autofree char *line =
        g_strdup_printf("%u %u %u\n", mapping->container_id, mapping->host_id, mapping->length);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    gboolean good = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line);

    if (!good)
        fail_errno(error, errno, "cannot write %s", path);
    if (fd >= 0)
        close(fd);
    return good;
}

static gboolean namespace_open(pid_t pid, const Runtime__V1__UserNamespace *mappings, int *ret_fd,
                               GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/ns/user", (int)pid);
    int fd;

    if (!map_write(pid, "uid_map", mappings->uids[0], error) ||
        !map_write(pid, "gid_map", mappings->gids[0], error))
        return FALSE;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    *ret_fd = fd;
    return TRUE;
}

gboolean userns_open(const Runtime__V1__UserNamespace *mappings, int *ret_fd, GError **error)
{
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    gboolean good;

    if (pid < 0)
        return fail(error, STATUS_FAILED_PRECONDITION, "cannot make a user namespace on this node: %s",
                    g_strerror(errno));
    if (pid == 0)
        idle();
    good = namespace_open(pid, mappings, ret_fd, error);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return good;
}
