/* SPDX-License-Identifier: Apache-2.0 */
/* A library that is preloaded into crun in a guest (LD_PRELOAD), and makes a server of it: crun is loaded and
 * relocated once, and each run of it is a fork of that process. Loading is most of what a short run of crun
 * takes, above all in an emulated guest.
 *
 * The agent (agent/guest/crun_server.c) starts `crun` with CRUN_SERVER_VARIABLE set to a descriptor, one end
 * of a socket pair of sequenced packets. A request is one packet: struct crun_server_request, then the
 * arguments as strings that each end with NUL; with it come three descriptors, which become 0, 1 and 2. The
 * answer is one packet, the process id (int32_t), or a negative errno. The new process is a child of the
 * agent, not of the server (CLONE_PARENT), so the agent learns of its end as of any other child.
 *
 * kernel/initramfs.sh builds it, for it belongs to the guest's C library and crun.
 *
 * Without the variable crun runs as always. When the agent closes the socket, the server ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/guest/crun_server_wire.h"

typedef int (*Main)(int, char **, char **);

static Main crun_main;

/* Return: as fork(2), but the new process is a sibling. There is one thread, and crun takes no lock that
 * atfork handlers would have to release. */
static pid_t fork_sibling(void)
{
    return (pid_t)syscall(SYS_clone, (unsigned long)(CLONE_PARENT | SIGCHLD), NULL, NULL, NULL, NULL);
}

static void set_score(int score)
{
    char text[16];
    int length = snprintf(text, sizeof text, "%d", score);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? write(fd, text, (size_t)length) : -1;

    (void)n;
    if (fd >= 0)
        close(fd);
}

static void set_mark(uint64_t mark)
{
    struct rlimit limit;

    if (mark != 0 && getrlimit(RLIMIT_RTTIME, &limit) == 0) {
        limit.rlim_cur = mark;
        setrlimit(RLIMIT_RTTIME, &limit);
    }
}

/* Becomes one run of crun. */
static void run(const CrunServerRequest *request, char *strings, size_t length, int server, const int *fds)
{
    static char *argv[CRUN_SERVER_ARGUMENTS_MAX + 1];
    int argc = 0;

    for (char *at = strings; at < strings + length && argc < CRUN_SERVER_ARGUMENTS_MAX; at += strlen(at) + 1)
        argv[argc++] = at;
    close(server);
    for (int i = 0; i < 3; i++)
        dup2(fds[i], i);
    for (int i = 0; i < 3; i++)
        if (fds[i] > 2)
            close(fds[i]);
    prctl(PR_SET_NAME, "crun");
    set_score(request->oom_score_adj);
    set_mark(request->mark);
    exit(crun_main(argc, argv, environ));
}

/* Return: the number of bytes; 0: the agent has closed the socket; -1: nothing usable. */
static ssize_t receive(int server, void *packet, size_t room, int *ret_fds)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control = {0};
    struct iovec part = {packet, room};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;

    do
        n = recvmsg(server, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return 0;
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
        control.header.cmsg_len != CMSG_LEN(3 * sizeof(int)))
        return -1;
    memcpy(ret_fds, CMSG_DATA(&control.header), 3 * sizeof(int));
    return n;
}

static void serve(int server)
{
    static union {
        CrunServerRequest request;
        char bytes[CRUN_SERVER_REQUEST_MAX + 1];
    } packet;
    int fds[3];
    ssize_t n;

    while ((n = receive(server, &packet, CRUN_SERVER_REQUEST_MAX, fds)) != 0) {
        int32_t answer = -EPROTO;

        if (n > (ssize_t)sizeof packet.request) {
            size_t length = (size_t)n - sizeof packet.request;

            packet.bytes[n] = '\0';
            answer = fork_sibling();
            if (answer == 0)
                run(&packet.request, packet.bytes + sizeof packet.request, length, server, fds);
            if (answer < 0)
                answer = -errno;
        }
        if (n > 0)
            for (int i = 0; i < 3; i++)
                close(fds[i]);
        if (send(server, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
            return;
    }
}

static int main_or_server(int argc, char **argv, char **environment)
{
    const char *variable = getenv(CRUN_SERVER_VARIABLE);
    int server = variable != NULL ? atoi(variable) : -1;

    unsetenv("LD_PRELOAD");
    unsetenv(CRUN_SERVER_VARIABLE);
    if (server < 0)
        return crun_main(argc, argv, environment);
    prctl(PR_SET_NAME, CRUN_SERVER_NAME);
    fcntl(server, F_SETFD, FD_CLOEXEC);
    serve(server);
    _exit(0);
}

/* glibc's entry point calls main() through this. */
int __libc_start_main(Main main_function, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);
int __libc_start_main(Main main_function, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    typedef int (*Start)(Main, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
    Start start = (Start)dlsym(RTLD_NEXT, "__libc_start_main");

    crun_main = main_function;
    return start(main_or_server, argc, argv, init, fini, rtld_fini, stack_end);
}
