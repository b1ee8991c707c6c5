/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/in_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/guest/paths.h"
#include "agent/guest/process_tree.h"
#include "agent/guest/spawn.h"
#include "agent/guest/sysfile.h"

enum {
    ARGUMENTS_MAX = 1024,
    EXIT_FAILED = 125,
    EXIT_CANNOT_RUN = 126,
    EXIT_NOT_FOUND = 127,
};

/* ---- the agent's side ---- */

/* Opens a terminal of the guest's devpts. */
static bool terminal_open(int *ret_ours, int *ret_theirs)
{
    int unlocked = 0;
    int ours = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    int theirs = ours >= 0 && ioctl(ours, TIOCSPTLCK, &unlocked) == 0
                     ? ioctl(ours, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)
                     : -1;

    if (theirs < 0) {
        if (ours >= 0)
            close(ours);
        return false;
    }
    *ret_ours = ours;
    *ret_theirs = theirs;
    return true;
}

/* fds are for the child; -1: /dev/null. */
static bool command_spawn(Process *process, char *const *argv, const int fds[3], Fault *ret_fault)
{
    static char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                        "HOME=/root", "TERM=xterm", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0)
            posix_spawn_file_actions_adddup2(&actions, fds[i], i);
        else
            posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_RDWR, 0);
    }
    process_tree_carry(process->mark);
    int error = spawn_clean(&pid, "/proc/self/exe", &actions, argv, environment);
    process_tree_carry(0);
    posix_spawn_file_actions_destroy(&actions);
    process_close_child_fds(process);
    errno = error;
    if (error != 0)
        return fault_errno(ret_fault, "starting a command in the guest");
    process_run(process, pid);
    return true;
}

static bool command_spawn_on_terminal(Process *process, const ExecRequest *request, char *const *argv,
                                      Fault *ret_fault)
{
    int ours = -1, theirs = -1;

    if (!terminal_open(&ours, &theirs))
        return fault_errno(ret_fault, "opening a terminal");
    const int fds[3] = {theirs, theirs, theirs};
    bool ok =
        process_set_terminal(process, ours, request->stdin) ||
        fault(ret_fault, FAULT_RESOURCE_EXHAUSTED, "cannot open a terminal: out of memory in the guest");
    if (ok && request->columns > 0 && request->rows > 0)
        process_resize(process, request->columns, request->rows);
    ok = ok && command_spawn(process, argv, fds, ret_fault);
    close(theirs);
    return ok;
}

bool in_guest_start(Process *process, const ExecRequest *request, Fault *ret_fault)
{
    char rootfs[192];
    char *argv[ARGUMENTS_MAX] = {"crivirt-agent", IN_GUEST_OPTION, request->tty ? "tty" : "pipe", rootfs};
    size_t n = 4;

    if (n + request->n_args >= ARGUMENTS_MAX)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "the command has more than %zu arguments",
                     ARGUMENTS_MAX - n - 1);
    snprintf(rootfs, sizeof rootfs, CONTAINERS_DIR "/%s/rootfs", process->container_id);
    for (size_t i = 0; i < request->n_args; i++)
        argv[n++] = request->args[i];
    return request->tty ? command_spawn_on_terminal(process, request, argv, ret_fault)
                        : command_spawn(process, argv, process->child_fds, ret_fault);
}

uint64_t in_guest_mark(Container *container)
{
    if (container->guest_mark == 0)
        container->guest_mark = process_tree_new_mark();
    return container->guest_mark;
}

void in_guest_kill(const Container *container)
{
    if (container->guest_mark != 0)
        process_tree_signal(CGROUP_ROOT, 0, container->guest_mark, SIGKILL);
}

/* ---- the command's side ---- */

static int fail_on(const char *what)
{
    dprintf(STDERR_FILENO, "crivirt-agent: %s: %s\n", what, strerror(errno));
    return EXIT_FAILED;
}

/* The paths are resolved below the rootfs, whose links a container may have made. */
static const char *enter_rootfs(const char *rootfs)
{
    static const char *const shown[] = {"/dev", "/proc", "/sys"};
    enum { N_SHOWN = sizeof shown / sizeof *shown };
    int trees[N_SHOWN];

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return "a mount namespace";
    for (size_t i = 0; i < N_SHOWN; i++) {
        trees[i] = open_tree(AT_FDCWD, shown[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (trees[i] < 0)
            return shown[i];
    }
    if (chroot(rootfs) < 0 || chdir("/") < 0)
        return rootfs;
    for (size_t i = 0; i < N_SHOWN; i++)
        if (move_mount(trees[i], "", AT_FDCWD, shown[i], MOVE_MOUNT_F_EMPTY_PATH) < 0)
            return shown[i];
    return NULL;
}

int in_guest_main(char **words)
{
    if (words[0] == NULL || words[1] == NULL || words[2] == NULL)
        return EXIT_FAILED;
    char **command = words + 2;

    sysfile_write("/proc/self/oom_score_adj", "0"); /* the agent's own would protect it from the OOM killer */
    /* A session of its own, so that the signals of a terminal reach the command and no other. */
    setsid();
    if (strcmp(words[0], "tty") == 0 && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        return fail_on("the terminal");
    const char *failed = enter_rootfs(words[1]);
    if (failed != NULL)
        return fail_on(failed);
    execvp(command[0], command);
    int exit_code = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
    fail_on(command[0]);
    return exit_code;
}
