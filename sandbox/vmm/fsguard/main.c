/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt-fsguard: passes messages between QEMU and the file server (virtiofsd) of a guest's volumes, and
 * answers the guest when the server has died.
 *
 * QEMU 7.2 does not notice the death of a vhost-user file server. A process in the guest that uses a volume
 * then waits for ever, and not even SIGKILL ends it; nor can the guest's driver release the device. fsguard
 * passes on the few messages of the set-up, and records them. Requests do not pass through it, so that it
 * costs nothing. When the server has died, fsguard answers every request with ENOTCONN, also those that the
 * server was working on. It ends when QEMU closes the connection; then the server, which loses its client,
 * ends as well.
 *
 * When fsguard itself is killed, a second process of it continues (standby.h). Only when both are killed,
 * requests get no answer, and the server ends too. The daemon distinguishes this from the death of the server
 * by the lock that both processes hold on their standard output, which is the log.
 *
 * Usage: crivirt-fsguard UID GID SHARE. Descriptor 3 is the listening socket for QEMU, descriptor 4 the
 * connection to the server. It runs as that user and group. SHARE is not used; it shows in lists of
 * processes.
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
#include "sandbox/vmm/fsguard/message_io.h"
#include "sandbox/vmm/fsguard/standby.h"

/* A new standby is made when no message has come for this long, because the set-up is some dozens of
 * messages. */
enum { LISTENER_FD = 3, SERVER_FD = 4, QUIET_MS = 50 };

typedef struct {
    Device device;
    int qemu_fd;
    int server_fd;   /* -1: the server has died */
    bool is_awaited; /* the server has not answered `asked` yet */
    Message asked;
    Standby standby;
    bool standby_is_due; /* there is none, or it lacks the last messages */
} Fsguard;

/* ---- the server's death ---- */

static void fail_rings(Fsguard *fsguard)
{
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        device_fail_ring(&fsguard->device, i, ENOTCONN);
}

static bool answer_for_server(Fsguard *fsguard, const Message *message)
{
    Message answer;

    if (!message_wants_answer(message))
        return true;
    device_answer(&fsguard->device, message, &answer);
    return message_write(fsguard->qemu_fd, &answer, NULL, 0);
}

static bool server_died(Fsguard *fsguard)
{
    close(fsguard->server_fd);
    fsguard->server_fd = -1;
    fsguard->standby_is_due = true;
    fprintf(stderr,
            "crivirt-fsguard: virtiofsd has died: requests of the guest fail with ENOTCONN from now on\n");
    if (fsguard->is_awaited && !answer_for_server(fsguard, &fsguard->asked))
        return false;
    fail_rings(fsguard);
    return true;
}

/* ---- passing messages on ---- */

/* Return: false when QEMU has closed the connection, or has sent an invalid message. */
static bool pass_from_qemu(Fsguard *fsguard)
{
    Message message;
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = 0;
    bool passed;

    if (!message_read(fsguard->qemu_fd, &message, fds, &n_fds))
        return false;
    fsguard->standby_is_due = true;
    passed = fsguard->server_fd >= 0 && message_write(fsguard->server_fd, &message, fds, n_fds);
    device_note(&fsguard->device, &message, fds, n_fds);
    fsguard->is_awaited = message_wants_answer(&message);
    fsguard->asked = message;
    if (fsguard->server_fd >= 0)
        return passed || server_died(fsguard);
    if (!answer_for_server(fsguard, &message))
        return false;
    fail_rings(fsguard); /* the message may have started a ring */
    return true;
}

static bool pass_from_server(Fsguard *fsguard)
{
    Message message;
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = 0;
    bool good;

    if (!message_read(fsguard->server_fd, &message, fds, &n_fds))
        return server_died(fsguard);
    fsguard->is_awaited = false;
    fsguard->standby_is_due = true;
    device_note_answer(&fsguard->device, &message);
    good = message_write(fsguard->qemu_fd, &message, fds, n_fds);
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return good;
}

/* ---- the death of fsguard ---- */

/* The rings show what the killed process has answered since this one was made. */
static void continue_for_killed(Fsguard *fsguard)
{
    fprintf(stderr, "crivirt-fsguard: the process was killed; its standby continues\n");
    device_start_over(&fsguard->device);
    if (fsguard->server_fd < 0)
        fail_rings(fsguard);
}

static void renew_standby(Fsguard *fsguard)
{
    bool took_over = standby_make(&fsguard->standby);

    fsguard->standby_is_due = fsguard->standby.fd < 0;
    if (took_over)
        continue_for_killed(fsguard);
}

/* ---- the loop ---- */

static void on_kick(Fsguard *fsguard, size_t index)
{
    uint64_t count;

    if (read(fsguard->device.rings[index].kick_fd, &count, sizeof count) == (ssize_t)sizeof count)
        device_fail_ring(&fsguard->device, index, ENOTCONN);
}

static bool poll_once(Fsguard *fsguard)
{
    struct pollfd polled[2 + DEVICE_RINGS_MAX + 1];
    bool good = true;
    int n;

    polled[0] = (struct pollfd){.fd = fsguard->qemu_fd, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = fsguard->server_fd, .events = POLLIN};
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        polled[2 + i] = (struct pollfd){.fd = fsguard->server_fd < 0 ? fsguard->device.rings[i].kick_fd : -1,
                                        .events = POLLIN};
    polled[2 + DEVICE_RINGS_MAX] = (struct pollfd){.fd = fsguard->standby.fd, .events = POLLIN};
    n = poll(polled, 2 + DEVICE_RINGS_MAX + 1, fsguard->standby_is_due ? QUIET_MS : -1);
    if (n < 0)
        return errno == EINTR;
    if (n == 0)
        renew_standby(fsguard);
    if (n > 0 && polled[2 + DEVICE_RINGS_MAX].revents != 0) {
        standby_dismiss(&fsguard->standby);
        fsguard->standby_is_due = true;
    }
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        if (polled[2 + i].revents != 0)
            on_kick(fsguard, i);
    if (polled[1].revents != 0)
        good = pass_from_server(fsguard);
    if (good && polled[0].revents != 0)
        good = pass_from_qemu(fsguard);
    return good;
}

/* QEMU may be hostile: the process that reads its messages has no more rights than QEMU. */
static bool drop_privileges(const char *uid, const char *gid)
{
    uid_t user = (uid_t)strtoul(uid, NULL, 10);
    gid_t group = (gid_t)strtoul(gid, NULL, 10);

    return setgroups(0, NULL) == 0 && setresgid(group, group, group) == 0 &&
           setresuid(user, user, user) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && chdir("/") == 0;
}

int main(int argc, char **argv)
{
    static Fsguard fsguard;

    if (argc != 4) {
        fprintf(stderr, "usage: crivirt-fsguard UID GID SHARE (crivirtd starts it)\n");
        return 2;
    }
    (void)!flock(STDOUT_FILENO, LOCK_EX | LOCK_NB);
    device_init(&fsguard.device);
    fsguard.standby = STANDBY_NONE;
    fsguard.server_fd = SERVER_FD;
    if (!drop_privileges(argv[1], argv[2]) ||
        (fsguard.qemu_fd = accept4(LISTENER_FD, NULL, NULL, SOCK_CLOEXEC)) < 0) {
        fprintf(stderr, "crivirt-fsguard: cannot start: %s\n", strerror(errno));
        return 1;
    }
    close(LISTENER_FD);
    while (poll_once(&fsguard))
        continue;
    standby_dismiss(&fsguard.standby);
    return 0;
}
