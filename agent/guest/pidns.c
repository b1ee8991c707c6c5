/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/pidns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"

#define NS_DIR SANDBOX_DIR "/ns"
enum { NOBODY = 65534 };

/* Reaps orphaned processes of the containers. The containers can see this process, so it drops all
 * descriptors, its root directory and its rights. Signals from inside its namespace do not reach a PID 1
 * without handlers. */
static _Noreturn void pidns_init_run(void)
{
    sigset_t none;

    close_range(0, ~0U, 0);
    prctl(PR_SET_NAME, "pod-init");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGCHLD, SIG_DFL);
    if (chroot(NO_LAYER_DIR) != 0 || chdir("/") != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
        setresuid(NOBODY, NOBODY, NOBODY) != 0)
        _exit(1);
    prctl(PR_SET_DUMPABLE, 0);
    for (;;) {
        siginfo_t info;

        /* Without children waitid() returns at once, and without a handler no signal ends a sleep; so it
         * polls. */
        if (waitid(P_ALL, 0, &info, WEXITED) != 0 && errno == ECHILD)
            sleep(1);
    }
}

bool pidns_ensure(Fault *ret_fault)
{
    static pid_t holder; /* 0: the namespace has not been made */
    char source[64];

    if (holder != 0)
        return true;
    if (!dir_put(NS_DIR, 0755, ret_fault))
        return false;
    int fd = open(NS_DIR "/pid", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return fault_errno(ret_fault, "creating %s", NS_DIR "/pid");
    close(fd);
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid < 0)
        return fault_errno(ret_fault, "making the pod's PID namespace");
    if (pid == 0)
        pidns_init_run();
    snprintf(source, sizeof source, "/proc/%d/ns/pid", (int)pid);
    if (mount(source, NS_DIR "/pid", NULL, MS_BIND, NULL) != 0) {
        fault_errno(ret_fault, "mounting the pod's PID namespace");
        kill(pid, SIGKILL);
        return false;
    }
    holder = pid;
    return true;
}
