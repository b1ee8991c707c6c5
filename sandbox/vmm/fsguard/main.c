/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt-fsguard: stands between QEMU and the file server (virtiofsd) of a guest's volumes.
 *
 * With recovery, the guest's requests pass through it (relay.h), and it knows what the guest has of the
 * server. When the server dies, requests wait until the daemon sends the connection of a new one, and the
 * guest's files and directories go on there. When none comes in time, or the daemon gives up, requests fail
 * with ENOTCONN.
 *
 * Without recovery it passes on the few messages of the set-up, and records them. Requests do not pass
 * through it, so that it costs nothing. When the server has died, it answers every request with ENOTCONN,
 * also those that the server was working on: QEMU 7.2 does not notice the death of a vhost-user file server,
 * a process in the guest that uses a volume would wait for ever, and not even SIGKILL would end it.
 *
 * It ends when QEMU closes the connection; then the server, which loses its client, ends as well. With
 * recovery the daemon can park the share before: the guest is saved without the device, and keeps the file
 * system. Then fsguard and the server stay as they are, and QEMU connects again.
 *
 * When fsguard itself is killed, a second process of it continues (standby.h). Only when both are killed,
 * requests get no answer, and the server ends too. The daemon distinguishes this from the death of the server
 * by the lock that both processes hold on their standard output, which is the log.
 *
 * Usage: crivirt-fsguard UID GID SHARE [recovery]. Descriptor 3 is the listening socket for QEMU, descriptor
 * 4 the connection to the server, with recovery descriptor 5 the listening socket for the daemon (control.h)
 * and descriptor 6 a file with the holes of the guest's memory (MemoryHole in memory.h). It runs as that user
 * and group. SHARE is not used; it shows in lists of processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/control.h"
#include "sandbox/vmm/fsguard/device.h"
#include "sandbox/vmm/fsguard/message_io.h"
#include "sandbox/vmm/fsguard/relay.h"
#include "sandbox/vmm/fsguard/relay_state.h"
#include "sandbox/vmm/fsguard/standby.h"

enum {
    LISTENER_FD = 3,
    SERVER_FD = 4,
    CONTROL_FD = 5,
    HOLES_FD = 6,
    /* A new standby is made when no message has come for this long, because the set-up is some dozens of
     * messages. */
    QUIET_MS = 50,
    /* How long requests wait for a new server: a daemon that is being restarted makes it, too. */
    SUCCESSOR_MS = 60 * 1000,
};

typedef struct {
    Device device;
    Relay *relay;    /* NULL: the server has the guest's rings itself */
    int qemu_fd;     /* -1: QEMU has not connected yet, or the share is parked */
    int listener_fd; /* where QEMU is to connect; -1: nowhere */
    int server_fd;   /* -1: the server has died */
    bool is_set_up;  /* the server has been told all by an earlier connection of QEMU, with this memory: */
    Memory parked_memory;
    bool is_awaited; /* the server has not answered `asked` yet */
    Message asked;
    bool wants_recovery;
    int control_fd;   /* -1: none */
    int namespace_fd; /* the mount namespace of the server, kept for its successor; -1: none */
    int64_t wait_end; /* until when requests wait for a new server; 0: they do not wait */
    Standby standby;
    bool standby_is_due; /* there is none, or it lacks the last messages */
    int64_t changed_ms;  /* the last message */
} Fsguard;

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void note_change(Fsguard *fsguard)
{
    fsguard->standby_is_due = true;
    fsguard->changed_ms = now_ms();
}

/* ---- the server's death ---- */

static void fail_ring(Fsguard *fsguard, size_t index)
{
    if (fsguard->relay != NULL)
        relay_fail(fsguard->relay, index, ENOTCONN);
    else
        device_fail_ring(&fsguard->device, index, ENOTCONN);
}

static void fail_rings(Fsguard *fsguard)
{
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        fail_ring(fsguard, i);
}

static bool answer_for_server(Fsguard *fsguard, const Message *message)
{
    Message answer;

    if (!message_wants_answer(message))
        return true;
    device_answer(&fsguard->device, message, &answer);
    return message_write(fsguard->qemu_fd, &answer, NULL, 0);
}

static void give_up(Fsguard *fsguard)
{
    fsguard->wait_end = 0;
    if (fsguard->namespace_fd >= 0)
        close(fsguard->namespace_fd); /* the volumes must not stay in use */
    fsguard->namespace_fd = -1;
    note_change(fsguard);
    fprintf(stderr,
            "crivirt-fsguard: virtiofsd has died: requests of the guest fail with ENOTCONN from now on\n");
    fail_rings(fsguard);
}

/* A server that has died before the guest could use it is reported at once. */
static bool server_died(Fsguard *fsguard)
{
    if (fsguard->server_fd >= 0)
        close(fsguard->server_fd);
    fsguard->server_fd = -1;
    note_change(fsguard);
    if (fsguard->relay != NULL)
        relay_lose_server(fsguard->relay);
    if (fsguard->is_awaited && !answer_for_server(fsguard, &fsguard->asked))
        return false;
    fsguard->is_awaited = false;
    if (fsguard->relay == NULL || !relay_has_session(fsguard->relay) || fsguard->namespace_fd < 0) {
        give_up(fsguard);
        return true;
    }
    fsguard->wait_end = now_ms() + SUCCESSOR_MS;
    fprintf(stderr, "crivirt-fsguard: virtiofsd has died: requests of the guest wait %d s for another one\n",
            SUCCESSOR_MS / 1000);
    return true;
}

/* ---- passing messages on ---- */

/* From here on the guest's requests pass through this process, if both ends can do what that takes. A relay
 * that was loaded before needs it. Return: false when it cannot be had. */
static bool consider_relay(Fsguard *fsguard, const Message *message)
{
    if (message->request != SET_PROTOCOL_FEATURES || !fsguard->wants_recovery || fsguard->server_fd < 0)
        return true;
    if (relay_suits(&fsguard->device)) {
        if (fsguard->relay == NULL)
            fsguard->relay = relay_new(&fsguard->device);
        if (fsguard->relay != NULL)
            return true;
    }
    if (fsguard->device.memory.n_holes > 0) {
        fprintf(stderr,
                "crivirt-fsguard: a guest that shares memory of its template cannot have volumes, because "
                "QEMU or virtiofsd lacks the protocol feature CONFIGURE_MEM_SLOTS, or memory is short\n");
        return false;
    }
    fprintf(stderr, "crivirt-fsguard: the volumes will not outlive this virtiofsd, because QEMU or virtiofsd "
                    "lacks the protocol feature CONFIGURE_MEM_SLOTS, or memory is short\n");
    return fsguard->relay == NULL;
}

/* The server was given the guest's memory by the first connection. QEMU has no reason to come with another.
 */
static bool memory_is_parked(Fsguard *fsguard)
{
    bool same = memory_equal(&fsguard->parked_memory, &fsguard->device.memory);

    fsguard->is_set_up = false; /* what QEMU says from now on is new to the server */
    memory_clear(&fsguard->parked_memory);
    return same;
}

static bool has_started_ring(const Fsguard *fsguard)
{
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        if (fsguard->device.rings[i].kick_fd >= 0)
            return true;
    return false;
}

/* Does what a message has made possible. Return: false when QEMU has closed the connection. */
static bool work(Fsguard *fsguard)
{
    if (fsguard->server_fd < 0 && fsguard->wait_end == 0)
        fail_rings(fsguard); /* the message may have started a ring */
    if (fsguard->relay == NULL || fsguard->server_fd < 0)
        return true;
    if (!relay_has_begun(fsguard->relay) && has_started_ring(fsguard) &&
        !relay_begin(fsguard->relay, fsguard->server_fd))
        return server_died(fsguard);
    if (fsguard->is_set_up && has_started_ring(fsguard) && !memory_is_parked(fsguard)) {
        fprintf(stderr,
                "crivirt-fsguard: the guest comes back with other memory; virtiofsd must be replaced\n");
        return server_died(fsguard);
    }
    relay_work(fsguard->relay);
    return true;
}

/* ---- QEMU comes and goes ---- */

/* Return: whether the share stays, parked. */
static bool qemu_left(Fsguard *fsguard)
{
    Memory memory;

    if (fsguard->listener_fd < 0)
        return false;
    close(fsguard->qemu_fd);
    fsguard->qemu_fd = -1;
    device_detach(&fsguard->device, &memory);
    if (fsguard->is_set_up)
        memory_clear(&memory); /* the guest has not used the device, and the memory may not be all */
    else
        fsguard->parked_memory = memory;
    fsguard->is_set_up = true;
    note_change(fsguard);
    return true;
}

static void end_listening(Fsguard *fsguard)
{
    if (fsguard->listener_fd >= 0)
        close(fsguard->listener_fd);
    fsguard->listener_fd = -1;
    note_change(fsguard);
}

/* Return: false when QEMU cannot come any more. */
static bool qemu_comes(Fsguard *fsguard)
{
    fsguard->qemu_fd = accept4(fsguard->listener_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fsguard->qemu_fd < 0)
        return errno == EINTR || errno == EAGAIN || errno == ECONNABORTED;
    if (!fsguard->is_set_up)
        end_listening(fsguard);
    note_change(fsguard);
    return true;
}

/* Return: false when QEMU has closed the connection, or has sent an invalid message. */
static bool pass_from_qemu(Fsguard *fsguard)
{
    Message message;
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = 0;
    bool is_own, passed = true;

    if (!message_read(fsguard->qemu_fd, &message, fds, &n_fds))
        return qemu_left(fsguard);
    note_change(fsguard);
    is_own = fsguard->is_set_up;
    if (fsguard->relay != NULL && relay_note(fsguard->relay, &message))
        is_own = true;
    if (fsguard->server_fd >= 0 && !is_own) {
        Message sent = message;

        if (fsguard->relay != NULL)
            relay_adapt(&sent);
        passed = message_write(fsguard->server_fd, &sent, fds, n_fds);
    }
    device_note(&fsguard->device, &message, fds, n_fds);
    if (!consider_relay(fsguard, &message))
        return false;
    if (fsguard->server_fd < 0 || is_own)
        return answer_for_server(fsguard, &message) && work(fsguard);
    fsguard->is_awaited = message_wants_answer(&message);
    fsguard->asked = message;
    return passed ? work(fsguard) : server_died(fsguard);
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
    note_change(fsguard);
    if (fsguard->relay != NULL)
        relay_adapt_answer(&message);
    device_note_answer(&fsguard->device, &message);
    good = message_write(fsguard->qemu_fd, &message, fds, n_fds);
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return good;
}

/* ---- the daemon ---- */

static void use_successor(Fsguard *fsguard, int server_fd, ControlAnswer *answer)
{
    RelayRecovery recovery;

    if (fsguard->relay == NULL || fsguard->server_fd >= 0) {
        answer->problem = fsguard->relay == NULL ? ENOTSUP : EEXIST;
        close(server_fd);
        return;
    }
    note_change(fsguard);
    if (!relay_recover(fsguard->relay, server_fd, &recovery)) {
        answer->problem = EPIPE;
        close(server_fd);
        return;
    }
    fsguard->server_fd = server_fd;
    fsguard->is_set_up = false;
    memory_clear(&fsguard->parked_memory);
    fsguard->wait_end = 0;
    *answer = (ControlAnswer){.nodes = recovery.nodes,
                              .handles = recovery.handles,
                              .lost = recovery.lost,
                              .closed = recovery.closed,
                              .repeated = recovery.repeated,
                              .refused = recovery.refused};
    fprintf(stderr,
            "crivirt-fsguard: another virtiofsd has %u nodes and %u handles of the guest; %u nodes and %u "
            "handles "
            "are lost; %u requests were under way, and %u of them are answered without it\n",
            recovery.nodes, recovery.handles, recovery.lost, recovery.closed, recovery.repeated,
            recovery.refused);
}

static int save(const Fsguard *fsguard, int fd)
{
    if (fsguard->relay == NULL)
        return ENOTSUP;
    if (fsguard->listener_fd >= 0 && fsguard->qemu_fd >= 0)
        return EBUSY;
    return relay_has_session(fsguard->relay) ? relay_save(fsguard->relay, fd) : ENOENT;
}

static int load(Fsguard *fsguard, int fd, bool same_files)
{
    if (fsguard->qemu_fd >= 0 || fsguard->is_set_up)
        return EBUSY;
    if (fsguard->relay == NULL)
        fsguard->relay = relay_new(&fsguard->device);
    note_change(fsguard);
    return fsguard->relay == NULL ? ENOMEM : relay_load(fsguard->relay, fd, same_files);
}

static int park(Fsguard *fsguard, int fd)
{
    if (fsguard->relay == NULL)
        return ENOTSUP;
    if (!relay_has_session(fsguard->relay))
        return ENOENT;
    if (fsguard->server_fd < 0)
        return EPIPE;
    if (fsguard->listener_fd >= 0)
        close(fsguard->listener_fd);
    fsguard->listener_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    note_change(fsguard);
    return fsguard->listener_fd >= 0 ? 0 : errno;
}

static int keep_namespace(Fsguard *fsguard, int fd)
{
    if (fsguard->namespace_fd >= 0)
        close(fsguard->namespace_fd);
    fsguard->namespace_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    note_change(fsguard);
    return fsguard->namespace_fd >= 0 ? 0 : errno;
}

/* Carries out a command (control.h). fd: what came with it, which the caller closes; -1: none. *ret_sent:
 * what goes back. */
static void carry_out(Fsguard *fsguard, char command, int fd, ControlAnswer *answer, int *ret_sent)
{
    const bool needs_fd =
        command != CONTROL_GET_NAMESPACE && command != CONTROL_GIVE_UP && command != CONTROL_UNPARK;

    if (needs_fd && fd < 0) {
        answer->problem = EINVAL;
        return;
    }
    switch (command) {
    case CONTROL_KEEP_NAMESPACE:
        answer->problem = keep_namespace(fsguard, fd);
        break;
    case CONTROL_GET_NAMESPACE:
        *ret_sent = fsguard->namespace_fd;
        answer->problem = fsguard->server_fd >= 0 ? EBUSY : fsguard->namespace_fd < 0 ? ENOENT : 0;
        break;
    case CONTROL_SUCCESSOR:
        use_successor(fsguard, fcntl(fd, F_DUPFD_CLOEXEC, 0), answer);
        break;
    case CONTROL_SAVE:
        answer->problem = save(fsguard, fd);
        break;
    case CONTROL_LOAD:
    case CONTROL_LOAD_COPIES:
        answer->problem = load(fsguard, fd, command == CONTROL_LOAD);
        break;
    case CONTROL_PARK:
        answer->problem = park(fsguard, fd);
        break;
    case CONTROL_UNPARK:
        end_listening(fsguard);
        break;
    case CONTROL_GIVE_UP:
        if (fsguard->server_fd < 0 && fsguard->wait_end != 0)
            give_up(fsguard);
        break;
    default:
        answer->problem = EINVAL;
        break;
    }
}

static void serve_daemon(Fsguard *fsguard)
{
    int connection = accept4(fsguard->control_fd, NULL, NULL, SOCK_CLOEXEC);
    ControlAnswer answer = {0};
    char command = 0;
    int fd = -1, sent = -1;

    if (connection < 0)
        return;
    if (control_receive(connection, &command, sizeof command, &fd)) {
        carry_out(fsguard, command, fd, &answer, &sent);
        control_send(connection, &answer, sizeof answer, sent);
    }
    if (fd >= 0)
        close(fd);
    close(connection);
}

/* ---- the death of fsguard ---- */

/* The rings show what the killed process has answered since this one was made. */
static bool continue_for_killed(Fsguard *fsguard)
{
    fprintf(stderr, "crivirt-fsguard: the process was killed; its standby continues\n");
    if (fsguard->relay != NULL) {
        if (!relay_take_over(fsguard->relay))
            return server_died(fsguard);
    } else {
        device_start_over(&fsguard->device);
    }
    if (fsguard->server_fd < 0 && fsguard->wait_end == 0)
        fail_rings(fsguard);
    return true;
}

static bool renew_standby(Fsguard *fsguard)
{
    bool took_over = standby_make(&fsguard->standby);

    fsguard->standby_is_due = fsguard->standby.fd < 0;
    fsguard->changed_ms = now_ms();
    return !took_over || continue_for_killed(fsguard);
}

/* ---- the loop ---- */

static void on_kick(Fsguard *fsguard, size_t index)
{
    uint64_t count;

    if (read(fsguard->device.rings[index].kick_fd, &count, sizeof count) != (ssize_t)sizeof count)
        return;
    if (fsguard->server_fd < 0)
        fail_ring(fsguard, index);
    else if (fsguard->relay != NULL)
        relay_work(fsguard->relay);
}

/* Kicks are for the server where it has the rings, and wait in their descriptors while there is no server. */
static bool takes_kicks(const Fsguard *fsguard)
{
    return fsguard->server_fd < 0 ? fsguard->wait_end == 0 : fsguard->relay != NULL;
}

static int poll_timeout(const Fsguard *fsguard, int64_t now)
{
    int64_t end = INT64_MAX;

    if (fsguard->standby_is_due)
        end = fsguard->changed_ms + QUIET_MS;
    if (fsguard->wait_end != 0 && fsguard->wait_end < end)
        end = fsguard->wait_end;
    return end == INT64_MAX ? -1 : end > now ? (int)(end - now) : 0;
}

static bool on_time(Fsguard *fsguard)
{
    int64_t now = now_ms();

    if (fsguard->wait_end != 0 && now >= fsguard->wait_end)
        give_up(fsguard);
    if (fsguard->standby_is_due && now >= fsguard->changed_ms + QUIET_MS)
        return renew_standby(fsguard);
    return true;
}

enum { AT_QEMU, AT_LISTENER, AT_SERVER, AT_ANSWERS, AT_CONTROL, AT_STANDBY, AT_RINGS };

static bool poll_once(Fsguard *fsguard)
{
    struct pollfd polled[AT_RINGS + DEVICE_RINGS_MAX];
    size_t rings[DEVICE_RINGS_MAX];
    nfds_t n_polled = AT_RINGS;
    bool good = true;

    polled[AT_QEMU] = (struct pollfd){.fd = fsguard->qemu_fd, .events = POLLIN};
    polled[AT_LISTENER] =
        (struct pollfd){.fd = fsguard->qemu_fd < 0 ? fsguard->listener_fd : -1, .events = POLLIN};
    polled[AT_SERVER] = (struct pollfd){.fd = fsguard->server_fd, .events = POLLIN};
    polled[AT_ANSWERS] = (struct pollfd){.fd = fsguard->relay != NULL ? relay_answers_fd(fsguard->relay) : -1,
                                         .events = POLLIN};
    polled[AT_CONTROL] = (struct pollfd){.fd = fsguard->control_fd, .events = POLLIN};
    polled[AT_STANDBY] = (struct pollfd){.fd = fsguard->standby.fd, .events = POLLIN};
    for (size_t i = 0; i < DEVICE_RINGS_MAX && takes_kicks(fsguard); i++)
        if (fsguard->device.rings[i].kick_fd >= 0) {
            rings[n_polled - AT_RINGS] = i;
            polled[n_polled++] = (struct pollfd){.fd = fsguard->device.rings[i].kick_fd, .events = POLLIN};
        }
    if (poll(polled, n_polled, poll_timeout(fsguard, now_ms())) < 0)
        return errno == EINTR;
    if (polled[AT_STANDBY].revents != 0) {
        standby_dismiss(&fsguard->standby);
        note_change(fsguard);
    }
    for (nfds_t i = AT_RINGS; i < n_polled; i++)
        if (polled[i].revents != 0)
            on_kick(fsguard, rings[i - AT_RINGS]);
    if (polled[AT_ANSWERS].revents != 0)
        relay_hear(fsguard->relay);
    if (polled[AT_SERVER].revents != 0)
        good = pass_from_server(fsguard);
    if (good && polled[AT_QEMU].revents != 0)
        good = pass_from_qemu(fsguard);
    if (good && polled[AT_LISTENER].revents != 0)
        good = qemu_comes(fsguard);
    if (good && polled[AT_CONTROL].revents != 0)
        serve_daemon(fsguard);
    if (fsguard->qemu_fd < 0 && fsguard->listener_fd < 0)
        return false;
    return good && on_time(fsguard);
}

/* The holes stay mapped. Return: false with errno. */
static bool read_holes(Memory *memory)
{
    struct stat status;
    void *holes;

    if (fstat(HOLES_FD, &status) != 0)
        return false;
    memory->n_holes = (size_t)status.st_size / sizeof(MemoryHole);
    if (memory->n_holes == 0)
        return true;
    holes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, HOLES_FD, 0);
    memory->holes = holes;
    return holes != MAP_FAILED;
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

    if (argc != 4 && !(argc == 5 && strcmp(argv[4], "recovery") == 0)) {
        fprintf(stderr, "usage: crivirt-fsguard UID GID SHARE [recovery] (crivirtd starts it)\n");
        return 2;
    }
    (void)!flock(STDOUT_FILENO, LOCK_EX | LOCK_NB);
    device_init(&fsguard.device);
    fsguard.standby = STANDBY_NONE;
    fsguard.server_fd = SERVER_FD;
    fsguard.wants_recovery = argc == 5;
    fsguard.control_fd = fsguard.wants_recovery ? CONTROL_FD : -1;
    fsguard.namespace_fd = -1;
    fsguard.qemu_fd = -1;
    fsguard.listener_fd = LISTENER_FD;
    if ((fsguard.wants_recovery && !read_holes(&fsguard.device.memory)) ||
        !drop_privileges(argv[1], argv[2])) {
        fprintf(stderr, "crivirt-fsguard: cannot start: %s\n", strerror(errno));
        return 1;
    }
    while (poll_once(&fsguard))
        continue;
    standby_dismiss(&fsguard.standby);
    return 0;
}
