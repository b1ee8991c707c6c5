/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/crun_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guest/crun.h"
#include "agent/guest/crun_server_wire.h"
#include "agent/guest/fault.h"
#include "agent/guest/loop.h"
#include "agent/guest/spawn.h"

extern char **environ;

enum {
    ANSWER_MS = 10000, /* the agent serves nothing else meanwhile */
    SERVER_FD = 3,     /* the server's end, in the server */
    ENVIRONMENT_MAX = 64,
};

static struct {
    bool tried;
    int fd; /* of a server that has been started; -1: there is none */
    Child child;
} server = {.fd = -1};

/* ---- the server ---- */

static void server_ended(void *data, int wait_status)
{
    complain("the server of crun has ended (wait status %d), so crun is loaded for each run", wait_status);
    if (server.fd >= 0)
        close(server.fd);
    server.fd = -1;
}

static bool server_spawn(int socket_fd, pid_t *ret_pid)
{
    static char variable[] = CRUN_SERVER_VARIABLE "=3", preload[] = "LD_PRELOAD=" CRUN_SERVER_LIBRARY;
    char *argv[] = {(char *)CRUN_PATH, NULL}, *environment[ENVIRONMENT_MAX + 3];
    posix_spawn_file_actions_t actions;
    size_t n = 0;

    for (; environ[n] != NULL && n < ENVIRONMENT_MAX; n++)
        environment[n] = environ[n];
    environment[n++] = variable;
    environment[n++] = preload;
    environment[n] = NULL;
    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, socket_fd, SERVER_FD);
    errno = spawn_clean(ret_pid, crun_program(), &actions, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    return errno == 0;
}

static void server_start(void)
{
    int ends[2];
    pid_t pid;

    server.tried = true;
    if (access(CRUN_SERVER_LIBRARY, R_OK) < 0)
        return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        complain("cannot make a socket for the server of crun: %s", strerror(errno));
        return;
    }
    /* dup2() to its own number would leave it closed on exec. */
    int theirs = fcntl(ends[1], F_DUPFD_CLOEXEC, SERVER_FD + 1);
    bool ok = theirs >= 0 && server_spawn(theirs, &pid);
    if (!ok)
        complain("cannot start the server of crun: %s", strerror(errno));
    close(ends[1]);
    if (theirs >= 0)
        close(theirs);
    if (!ok) {
        close(ends[0]);
        return;
    }
    server.fd = ends[0];
    server.child = (Child){.pid = pid, .call = server_ended};
    child_watch(&server.child);
}

/* ---- one run ---- */

typedef struct {
    CrunServerRequest request;
    char strings[CRUN_SERVER_REQUEST_MAX - sizeof(CrunServerRequest)];
    size_t length; /* of strings */
} Packet;

/* Return: false when the arguments do not fit. */
static bool packet_fill(Packet *packet, char *const *argv)
{
    size_t n = 0;

    packet->length = 0;
    for (; argv[n] != NULL; n++) {
        size_t length = strlen(argv[n]) + 1;
        if (n == CRUN_SERVER_ARGUMENTS_MAX || length > sizeof packet->strings - packet->length)
            return false;
        memcpy(packet->strings + packet->length, argv[n], length);
        packet->length += length;
    }
    return n > 0;
}

static bool packet_send(const Packet *packet, const int *fds)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)packet, sizeof packet->request + packet->length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(3 * sizeof(int));
    memcpy(CMSG_DATA(&control.header), fds, 3 * sizeof(int));
    return sendmsg(server.fd, &message, MSG_NOSIGNAL) >= 0;
}

/* Return: an errno; 0: the run has been started. */
static int answer_take(pid_t *ret_pid)
{
    struct pollfd ready = {.fd = server.fd, .events = POLLIN};
    int32_t answer = 0;
    int n;

    while ((n = poll(&ready, 1, ANSWER_MS)) < 0 && errno == EINTR)
        continue;
    if (n == 0)
        return ETIMEDOUT;
    if (recv(server.fd, &answer, sizeof answer, 0) != sizeof answer)
        return EPIPE;
    if (answer > 0)
        *ret_pid = answer;
    return answer > 0 ? 0 : -answer;
}

/* After an error that leaves open what the server does. */
static void server_give_up(void)
{
    kill(server.child.pid, SIGKILL);
    close(server.fd);
    server.fd = -1;
}

bool crun_server_run(char *const *argv, const int *fds, int oom_score_adj, uint64_t mark, pid_t *ret_pid,
                     int *ret_error)
{
    static Packet packet;
    int given[3], null_fd;

    *ret_error = 0;
    if (!server.tried)
        server_start();
    packet.request = (CrunServerRequest){.oom_score_adj = oom_score_adj, .mark = mark};
    if (server.fd < 0 || !packet_fill(&packet, argv) || (null_fd = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
        return false;
    for (int i = 0; i < 3; i++)
        given[i] = fds != NULL && fds[i] >= 0 ? fds[i] : null_fd;
    bool sent = packet_send(&packet, given);
    close(null_fd);
    *ret_error = sent ? answer_take(ret_pid) : 0;
    if (!sent || *ret_error == ETIMEDOUT || *ret_error == EPIPE)
        server_give_up();
    return sent;
}
