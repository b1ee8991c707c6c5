/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/virtiofsd_recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/error.h"
#include "sandbox/vmm/fsguard/control.h"
#include "sandbox/vmm/fsguard/message_io.h"

/* A new server has its sandbox after some milliseconds; a table of a million files takes fsguard a minute. */
enum { LEAVE_LOOKS = 200, LEAVE_LOOK_MS = 5 }; /* until QEMU has closed the connection of a detached device */
enum { SERVER_TIMEOUT_MS = 10 * 1000, CONTROL_TIMEOUT_S = 120, END_LOOKS = 100, END_LOOK_MS = 50 };

/* ---- commands to fsguard ---- */

static int control_connect(const char *socket_path, GError **error)
{
    g_autofree char *path = virtiofsd_control_path(socket_path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval timeout = {.tv_sec = CONTROL_TIMEOUT_S};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 &&
        connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    fail(error, STATUS_FAILED_PRECONDITION,
         "cannot reach the guard of the pod's volumes (crivirt-fsguard) at %s: %s", path, g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Carries out one command. *ret_fd is -1 unless a descriptor comes back; it may be NULL. */
static gboolean control_call(const char *socket_path, char command, int fd, ControlAnswer *ret_answer,
                             int *ret_fd, GError **error)
{
    int connection = control_connect(socket_path, error);
    int received = -1;
    gboolean good, is_late;

    if (connection < 0)
        return FALSE;
    errno = 0;
    good = control_send(connection, &command, sizeof(command), fd) &&
           control_receive(connection, ret_answer, sizeof(*ret_answer), &received);
    is_late = errno == EAGAIN;
    close(connection);
    if (received >= 0 && (!good || ret_fd == NULL)) {
        close(received);
        received = -1;
    }
    if (!good && is_late)
        return fail(error, STATUS_DEADLINE_EXCEEDED,
                    "the guard of the pod's volumes (crivirt-fsguard) did not answer within %d s",
                    CONTROL_TIMEOUT_S);
    if (!good)
        return fail(error, STATUS_UNAVAILABLE,
                    "the guard of the pod's volumes (crivirt-fsguard) ended meanwhile");
    if (ret_fd != NULL)
        *ret_fd = received;
    return TRUE;
}

gboolean virtiofsd_keep_namespace(const char *socket, pid_t server, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/ns/mnt", (int)server);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ControlAnswer answer;
    gboolean good;

    if (fd < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    good = control_call(socket, CONTROL_KEEP_NAMESPACE, fd, &answer, NULL, error);
    close(fd);
    return good;
}

void virtiofsd_give_up(const char *socket)
{
    ControlAnswer answer;

    control_call(socket, CONTROL_GIVE_UP, -1, &answer, NULL, NULL); /* fsguard may have ended */
}

/* The process that serves ends a moment after the one that the daemon watches, which is its parent. */
static gboolean get_namespace(const char *socket, int *ret_fd, GError **error)
{
    ControlAnswer answer = {.problem = EBUSY};

    for (guint i = 0; answer.problem == EBUSY && i < END_LOOKS; i++) {
        if (i > 0)
            g_usleep((gulong)END_LOOK_MS * 1000);
        if (!control_call(socket, CONTROL_GET_NAMESPACE, -1, &answer, ret_fd, error))
            return FALSE;
    }
    if (answer.problem == 0 && *ret_fd >= 0)
        return TRUE;
    if (*ret_fd >= 0)
        close(*ret_fd);
    return fail(error, STATUS_FAILED_PRECONDITION, "crivirt-fsguard does not wait for a new virtiofsd: %s",
                answer.problem == EBUSY ? "it is still connected to the old one"
                                        : "it has given up, or the guest had not mounted the volumes");
}

/* ---- the new server ---- */

/* The server reads its first message when its sandbox is ready. */
static gboolean server_await(int connection, GError **error)
{
    const Message question = {.request = GET_FEATURES, .flags = 1};
    struct pollfd polled = {.fd = connection, .events = POLLIN};
    Message answer;
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = 0;
    gboolean good = message_write(connection, &question, NULL, 0) &&
                    poll(&polled, 1, SERVER_TIMEOUT_MS) == 1 &&
                    message_read(connection, &answer, fds, &n_fds);

    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return good || fail(error, STATUS_UNAVAILABLE, "the new virtiofsd ended, or was not ready within %d s",
                        SERVER_TIMEOUT_MS / 1000);
}

static gboolean hand_over(const char *socket, int connection, char **ret_summary, GError **error)
{
    ControlAnswer answer = {0};

    if (!control_call(socket, CONTROL_SUCCESSOR, connection, &answer, NULL, error))
        return FALSE;
    if (answer.problem != 0)
        return fail(error, STATUS_UNAVAILABLE, "crivirt-fsguard cannot use the new virtiofsd: %s",
                    g_strerror(answer.problem));
    *ret_summary = g_strdup_printf(
        "%u of the guest's files and directories are known there and %u are lost; %u are "
        "open, and %u that were open are lost; of %u requests that were under way, %u "
        "were not repeated",
        answer.nodes, answer.lost, answer.handles, answer.closed, answer.repeated, answer.refused);
    return TRUE;
}

gboolean virtiofsd_replace(const VirtiofsdSpec *spec, VirtiofsdBindFunc bind, gpointer data,
                           pid_t *ret_server, char **ret_summary, GError **error)
{
    int namespace_fd = -1, connection = -1;
    pid_t server = 0;
    gboolean good;

    if (!get_namespace(spec->socket, &namespace_fd, error))
        return FALSE;
    good = virtiofsd_start_server(spec, &server, &connection, error) && server_await(connection, error) &&
           bind(namespace_fd, server, data, error) && virtiofsd_keep_namespace(spec->socket, server, error) &&
           hand_over(spec->socket, connection, ret_summary, error);
    if (connection >= 0)
        close(connection); /* a server without a client ends */
    close(namespace_fd);
    if (good)
        *ret_server = server;
    return good;
}

/* ---- guests that are saved ---- */

gboolean virtiofsd_park(const VirtiofsdSpec *spec, const char *path, GError **error)
{
    int listener = virtiofsd_listen(spec, path, error);
    ControlAnswer answer;
    gboolean good;

    if (listener < 0)
        return FALSE;
    good = control_call(spec->socket, CONTROL_PARK, listener, &answer, NULL, error);
    close(listener);
    if (good && answer.problem != 0)
        good = fail(error, STATUS_FAILED_PRECONDITION, "crivirt-fsguard cannot keep the volumes: %s",
                    answer.problem == ENOENT   ? "the guest has not mounted them"
                    : answer.problem == EPIPE  ? "their file server (virtiofsd) has died"
                    : answer.problem == EINVAL ? "it is that of an older crivirt"
                                               : "it does not pass on the guest's requests");
    if (!good)
        unlink(path);
    return good;
}

void virtiofsd_unpark(const char *socket)
{
    ControlAnswer answer;

    control_call(socket, CONTROL_UNPARK, -1, &answer, NULL, NULL); /* fsguard may have ended */
}

gboolean virtiofsd_save(const char *socket, int fd, GError **error)
{
    ControlAnswer answer = {.problem = EBUSY};

    for (guint i = 0; answer.problem == EBUSY && i < LEAVE_LOOKS; i++) {
        if (i > 0)
            g_usleep((gulong)LEAVE_LOOK_MS * 1000);
        if (!control_call(socket, CONTROL_SAVE, fd, &answer, NULL, error))
            return FALSE;
    }
    return answer.problem == 0 || fail_errno(error, answer.problem,
                                             "crivirt-fsguard cannot write what the guest "
                                             "has open on its volumes");
}

static gboolean load(const char *socket, int fd, GError **error)
{
    ControlAnswer answer;

    if (!control_call(socket, CONTROL_LOAD_COPIES, fd, &answer, NULL, error))
        return FALSE;
    if (answer.problem == EINVAL)
        return fail(error, STATUS_DATA_LOSS,
                    "what the saved guest had open on its volumes cannot be decoded");
    return answer.problem == 0 ||
           fail_errno(error, answer.problem, "crivirt-fsguard cannot read what the saved guest had open");
}

gboolean virtiofsd_start_saved(const VirtiofsdSpec *spec, int saved_fd, VirtiofsdBindFunc bind, gpointer data,
                               VirtiofsdProcesses *ret_processes, GError **error)
{
    VirtiofsdProcesses processes = {0};
    int connection = -1;
    gboolean good;

    unlink(spec->log);
    if (!virtiofsd_start_server(spec, &processes.server, &connection, error))
        return FALSE;
    good = server_await(connection, error) && bind(-1, processes.server, data, error) &&
           virtiofsd_start_fsguard(spec, connection, &processes.fsguard, error);
    close(connection); /* a server without a client ends */
    if (!good)
        return FALSE;
    if (load(spec->socket, saved_fd, error) &&
        virtiofsd_keep_namespace(spec->socket, processes.server, error)) {
        *ret_processes = processes;
        return TRUE;
    }
    virtiofsd_end(spec->socket);
    return FALSE;
}
