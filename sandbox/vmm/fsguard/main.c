/* crivirt-fsguard: stands between QEMU and the file server of a guest's volumes, and takes the server's place
 * when that dies.
 *
 * QEMU 7.2 does not notice a vhost-user file server's death: whoever touches a volume then waits for ever, in
 * a way that not even SIGKILL ends, and the guest's driver cannot let the device go either. The guard passes
 * the few messages of the set-up on and remembers them; requests themselves do not go through it, so it costs
 * nothing. When the server is gone it answers every request, also those that the server was working on, with
 * ENOTCONN. It ends when QEMU closes the connection, and so, by losing its client, does the server.
 *
 * The guard itself may be killed: then a second process of it goes on (standby.h). Only when both are killed
 * does nobody answer any more, and the server ends too; the daemon tells this from the server's own end by
 * the lock that both hold on their standard output, the log.
 *
 * crivirt-fsguard UID GID SHARE: listening socket for QEMU at 3, connection to the server at 4. Runs as that
 * user; SHARE is for those who look at the list of processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/device.h"
#include "sandbox/vmm/fsguard/standby.h"

/* How long it has to be quiet before what has been learnt is handed to a new standby: the set-up is some
 * dozens of messages. */
enum { LISTENER_FD = 3, SERVER_FD = 4, QUIET_MS = 50 };

typedef struct {
    Device device;
    int qemu_fd;
    int server_fd;   /* -1: it is dead */
    bool is_awaited; /* `asked` waits for the server's answer */
    Message asked;
    Standby standby;
    bool standby_is_due; /* it is gone, or does not know everything */
} Guard;

/* ---- messages ---- */

static bool read_all(int fd, void *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = read(fd, (uint8_t *)data + done, length - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

typedef union {
    struct cmsghdr header;
    uint8_t bytes[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
} Control;

static size_t take_fds(struct msghdr *header, int *ret_fds)
{
    size_t n_fds = 0;

    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part))
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            n_fds = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(ret_fds, CMSG_DATA(part), n_fds * sizeof(int));
        }
    return n_fds;
}

/* The descriptors come with the first byte. */
static bool message_read(int fd, Message *ret_message, int *ret_fds, size_t *ret_n_fds)
{
    struct iovec whole = {.iov_base = ret_message, .iov_len = MESSAGE_HEADER_BYTES};
    Control control;
    struct msghdr header = {
        .msg_iov = &whole, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;

    do {
        n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return false;
    *ret_n_fds = take_fds(&header, ret_fds);
    return read_all(fd, (uint8_t *)ret_message + n, MESSAGE_HEADER_BYTES - (size_t)n) &&
           ret_message->size <= MESSAGE_PAYLOAD_MAX && read_all(fd, ret_message->payload, ret_message->size);
}

static bool message_write(int fd, const Message *message, const int *fds, size_t n_fds)
{
    struct iovec whole = {.iov_base = (void *)message, .iov_len = MESSAGE_HEADER_BYTES + message->size};
    Control control = {.bytes = {0}};
    struct msghdr header = {.msg_iov = &whole, .msg_iovlen = 1};

    if (n_fds > 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
    }
    /* A message is far smaller than a socket's buffer: it goes whole or not at all. */
    return sendmsg(fd, &header, MSG_NOSIGNAL) == (ssize_t)whole.iov_len;
}

/* ---- the server's death ---- */

static void fail_rings(Guard *guard)
{
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        device_fail_ring(&guard->device, i, ENOTCONN);
}

static bool answer_for_server(Guard *guard, const Message *message)
{
    Message answer;

    if (!message_wants_answer(message))
        return true;
    device_answer(&guard->device, message, &answer);
    return message_write(guard->qemu_fd, &answer, NULL, 0);
}

static bool server_died(Guard *guard)
{
    close(guard->server_fd);
    guard->server_fd = -1;
    guard->standby_is_due = true;
    fprintf(stderr, "crivirt-fsguard: the file server is gone; its requests fail from now on\n");
    if (guard->is_awaited && !answer_for_server(guard, &guard->asked))
        return false;
    fail_rings(guard);
    return true;
}

/* ---- passing on ---- */

/* False: QEMU is gone, or speaks nonsense. */
static bool from_qemu(Guard *guard)
{
    Message message;
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = 0;
    bool passed;

    if (!message_read(guard->qemu_fd, &message, fds, &n_fds))
        return false;
    guard->standby_is_due = true;
    passed = guard->server_fd >= 0 && message_write(guard->server_fd, &message, fds, n_fds);
    device_note(&guard->device, &message, fds, n_fds);
    guard->is_awaited = message_wants_answer(&message);
    guard->asked = message;
    if (guard->server_fd >= 0)
        return passed || server_died(guard);
    if (!answer_for_server(guard, &message))
        return false;
    fail_rings(guard); /* one of them may just have been started */
    return true;
}

static bool from_server(Guard *guard)
{
    Message message;
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = 0;
    bool good;

    if (!message_read(guard->server_fd, &message, fds, &n_fds))
        return server_died(guard);
    guard->is_awaited = false;
    guard->standby_is_due = true;
    device_note_answer(&guard->device, &message);
    good = message_write(guard->qemu_fd, &message, fds, n_fds);
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return good;
}

/* ---- the guard's death ---- */

/* What the other one has answered since this one was made is in the rings. */
static void take_over(Guard *guard)
{
    fprintf(stderr, "crivirt-fsguard: it was killed; the one that stood by goes on\n");
    device_start_over(&guard->device);
    if (guard->server_fd < 0)
        fail_rings(guard);
}

static void renew_standby(Guard *guard)
{
    bool took_over = standby_make(&guard->standby);

    guard->standby_is_due = guard->standby.fd < 0;
    if (took_over)
        take_over(guard);
}

/* ---- the loop ---- */

static void take_kick(Guard *guard, size_t index)
{
    uint64_t count;

    if (read(guard->device.rings[index].kick_fd, &count, sizeof count) == (ssize_t)sizeof count)
        device_fail_ring(&guard->device, index, ENOTCONN);
}

static bool run_once(Guard *guard)
{
    struct pollfd polled[2 + DEVICE_RINGS_MAX + 1];
    bool good = true;
    int n;

    polled[0] = (struct pollfd){.fd = guard->qemu_fd, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = guard->server_fd, .events = POLLIN};
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        polled[2 + i] = (struct pollfd){.fd = guard->server_fd < 0 ? guard->device.rings[i].kick_fd : -1,
                                        .events = POLLIN};
    polled[2 + DEVICE_RINGS_MAX] = (struct pollfd){.fd = guard->standby.fd, .events = POLLIN};
    n = poll(polled, 2 + DEVICE_RINGS_MAX + 1, guard->standby_is_due ? QUIET_MS : -1);
    if (n < 0)
        return errno == EINTR;
    if (n == 0)
        renew_standby(guard);
    if (n > 0 && polled[2 + DEVICE_RINGS_MAX].revents != 0) {
        standby_dismiss(&guard->standby);
        guard->standby_is_due = true;
    }
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        if (polled[2 + i].revents != 0)
            take_kick(guard, i);
    if (polled[1].revents != 0)
        good = from_server(guard);
    if (good && polled[0].revents != 0)
        good = from_qemu(guard);
    return good;
}

/* QEMU's messages are a stranger's: whoever reads them shall be nobody more than QEMU is. */
static bool become(const char *uid, const char *gid)
{
    uid_t user = (uid_t)strtoul(uid, NULL, 10);
    gid_t group = (gid_t)strtoul(gid, NULL, 10);

    return setgroups(0, NULL) == 0 && setresgid(group, group, group) == 0 &&
           setresuid(user, user, user) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && chdir("/") == 0;
}

int main(int argc, char **argv)
{
    static Guard guard;

    if (argc != 4) {
        fprintf(stderr, "usage: crivirt-fsguard UID GID SHARE (crivirtd starts it)\n");
        return 2;
    }
    (void)!flock(STDOUT_FILENO, LOCK_EX | LOCK_NB);
    device_init(&guard.device);
    guard.standby = STANDBY_NONE;
    guard.server_fd = SERVER_FD;
    if (!become(argv[1], argv[2]) || (guard.qemu_fd = accept4(LISTENER_FD, NULL, NULL, SOCK_CLOEXEC)) < 0) {
        fprintf(stderr, "crivirt-fsguard: %s\n", strerror(errno));
        return 1;
    }
    close(LISTENER_FD);
    while (run_once(&guard))
        continue;
    standby_dismiss(&guard.standby);
    return 0;
}
