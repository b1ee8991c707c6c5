/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/host_agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/child.h"
#include "common/error.h"
#include "sandbox/vmm/console.h"

enum {
    LOG_TAIL_BYTES = 1000,
    LOG_TAIL_LINES = 4,
    START_TIMEOUT_MS = 30 * 1000,
    POLL_MS = 1000,
    CHILD_FDS = 3
};

static const char READY_LINE[] = "ready\n";

static int process_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static gboolean wait_readable(int fd, const Deadline *deadline, const char *what, GError **error)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    int n;

    do {
        n = poll(&wanted, 1, MIN(deadline_left_ms(deadline), POLL_MS));
    } while ((n == 0 || (n < 0 && errno == EINTR)) && deadline_check(deadline, what, error));
    return n > 0;
}

/* ---- finding ---- */

static int socket_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* The connection lasts as long as the listener lives: if it still lasts after the pidfd was opened, the
 * pidfd is that of the same process. */
static gboolean still_connected(int fd)
{
    struct pollfd peer = {.fd = fd, .events = 0};

    return poll(&peer, 1, 0) == 0;
}

pid_t host_agent_find(const char *socket, int *ret_fd)
{
    int connection = socket_connect(socket);
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);
    int fd = -1;

    if (connection < 0)
        return 0;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid > 0)
        fd = process_open(peer.pid);
    if (fd >= 0 && !still_connected(connection)) {
        close(fd);
        fd = -1;
    }
    close(connection);
    if (fd < 0)
        return 0;
    if (ret_fd != NULL)
        *ret_fd = fd;
    else
        close(fd);
    return peer.pid;
}

gboolean host_agent_kill(const char *socket, const Deadline *deadline, GError **error)
{
    int fd = -1;
    pid_t pid = host_agent_find(socket, &fd);
    gboolean gone = TRUE;

    if (pid == 0)
        return TRUE;
    if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0)
        gone = wait_readable(fd, deadline, "waiting for the pod's agent to end", error);
    close(fd);
    if (gone)
        waitpid(pid, NULL, WNOHANG); /* reaps the agent if this daemon started it */
    return gone;
}

/* ---- starting ---- */

static char **command_line(const HostAgentSpec *spec)
{
    GPtrArray *argv = g_ptr_array_new();

    g_ptr_array_add(argv, g_strdup(spec->program));
    g_ptr_array_add(argv, g_strdup("--node"));
    g_ptr_array_add(argv, g_strconcat("--socket=", spec->socket, NULL));
    g_ptr_array_add(argv, g_strconcat("--upper=", spec->upper_dir, NULL));
    if (spec->netns_path != NULL)
        g_ptr_array_add(argv, g_strconcat("--netns=", spec->netns_path, NULL));
    if (spec->node_ipc)
        g_ptr_array_add(argv, g_strdup("--node-ipc"));
    g_ptr_array_add(argv, g_strconcat("--share=", spec->share_dir, NULL));
    g_ptr_array_add(argv, NULL);
    return (char **)g_ptr_array_free(argv, FALSE);
}

static gboolean spawn(const HostAgentSpec *spec, pid_t *ret_pid, int *ret_output, GError **error)
{
    g_auto(GStrv) argv = command_line(spec);
    g_autoptr(GError) problem = NULL;
    int log = open(spec->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int output[2];
    gboolean spawned;

    if (log < 0)
        return fail_errno(error, errno, "cannot write %s", spec->log);
    if (pipe2(output, O_CLOEXEC) != 0) {
        close(log);
        return fail_errno(error, errno, "cannot make a pipe");
    }
    spawned = child_spawn(&(ChildSpec){.argv = (const char *const *)argv,
                                       .fds = (const int[CHILD_FDS]){-1, output[1], log},
                                       .n_fds = CHILD_FDS,
                                       .new_session = TRUE,
                                       .kind = CHILD_HOST_AGENT},
                          ret_pid, &problem);
    close(output[1]);
    close(log);
    if (!spawned) {
        close(output[0]);
        return fail(error, STATUS_FAILED_PRECONDITION, "%s", problem->message);
    }
    *ret_output = output[0];
    return TRUE;
}

static gboolean wait_ready(const HostAgentSpec *spec, int output, const Deadline *deadline, GError **error)
{
    char line[sizeof(READY_LINE)] = "";
    g_autofree char *tail = NULL;

    if (!wait_readable(output, deadline, "waiting for the pod's agent", error))
        return FALSE;
    if (read(output, line, sizeof(line) - 1) == (ssize_t)sizeof(READY_LINE) - 1 &&
        g_str_equal(line, READY_LINE))
        return TRUE;
    tail = console_tail(spec->log, LOG_TAIL_BYTES, LOG_TAIL_LINES);
    return fail(error, STATUS_INTERNAL, "the host pod's agent did not start: %s",
                tail != NULL && *tail != '\0' ? tail : "it gave no reason");
}

gboolean host_agent_start(const HostAgentSpec *spec, const Deadline *deadline, pid_t *ret_pid, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, START_TIMEOUT_MS);
    pid_t pid = 0;
    int output = -1;
    gboolean ready;

    if (!spawn(spec, &pid, &output, error))
        return FALSE;
    ready = wait_ready(spec, output, &bounded, error);
    close(output);
    if (!ready) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return FALSE;
    }
    *ret_pid = pid;
    return TRUE;
}
