/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/standby.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Return: false when the first process has died. */
static bool await_goodbye(int fd)
{
    char goodbye;
    ssize_t n;

    do {
        n = read(fd, &goodbye, 1);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

/* Returns when the first process has died, and ends this process at a goodbye. */
static void stand_by(int fd)
{
    char name[16] = "";

    prctl(PR_GET_NAME, name, 0, 0, 0);
    prctl(PR_SET_NAME, STANDBY_NAME, 0, 0, 0);
    if (await_goodbye(fd))
        _exit(0);
    prctl(PR_SET_NAME, name, 0, 0, 0);
    close(fd);
}

bool standby_make(Standby *standby)
{
    int ends[2];
    pid_t pid;

    standby_dismiss(standby);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return false;
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        stand_by(ends[1]);
        return true;
    }
    close(ends[1]);
    if (pid > 0)
        *standby = (Standby){.fd = ends[0], .pid = pid};
    else
        close(ends[0]);
    return false;
}

void standby_dismiss(Standby *standby)
{
    if (standby->fd < 0)
        return;
    (void)!send(standby->fd, "", 1, MSG_NOSIGNAL); /* fails when the standby has died */
    close(standby->fd);
    waitpid(standby->pid, NULL, 0);
    *standby = STANDBY_NONE;
}
