/* SPDX-License-Identifier: Apache-2.0 */
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"

enum { DEFAULT_MAX_OUTPUT_BYTES = 1 << 20, CANCEL_POLL_MS = 100, GROUP_END_TRIES = 100 };

void process_result_clear(ProcessResult *result)
{
    g_clear_pointer(&result->output, g_free);
    g_clear_pointer(&result->errors, g_free);
}

/* One pipe of the child, with the bytes that are still to be written or that have been read. */
typedef struct {
    int fd;
    GByteArray *data;
    gsize max_bytes;
} Pipe;

static void pipe_close(Pipe *end)
{
    if (end->fd >= 0)
        close(end->fd);
    end->fd = -1;
}

static void pipe_read(Pipe *end)
{
    guint8 buffer[16384];
    ssize_t got = TEMP_FAILURE_RETRY(read(end->fd, buffer, sizeof buffer));

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        pipe_close(end);
        return;
    }
    g_byte_array_append(end->data, buffer, (guint)MIN((gsize)got, end->max_bytes - end->data->len));
}

static void pipe_write(Pipe *end, const ProcessSpec *spec, gsize *written)
{
    ssize_t put = TEMP_FAILURE_RETRY(write(end->fd, spec->input + *written, spec->input_length - *written));

    if (put < 0 && errno == EAGAIN)
        return;
    if (put > 0)
        *written += (gsize)put;
    if (put < 0 || *written == spec->input_length)
        pipe_close(end);
}

/* Until when a caller waits for the program, and the program may run on after that. */
typedef struct {
    const Deadline *deadline;
    gint64 grace_ms;
    gint64 ends_at_us; /* of the grace; 0: the caller still waits */
} Patience;

/* Return: FALSE as deadline_check() when the caller has given up and the grace is over. */
static gboolean patience_check(Patience *patience, GError **error)
{
    const gint64 now_us = g_get_monotonic_time();

    if (patience->ends_at_us == 0 && deadline_check(patience->deadline, "waiting for a program", NULL))
        return TRUE;
    if (patience->ends_at_us == 0)
        patience->ends_at_us = now_us + patience->grace_ms * 1000;
    return now_us < patience->ends_at_us ||
           deadline_check(patience->deadline, "waiting for a program", error);
}

static int patience_poll_ms(const Patience *patience)
{
    return patience->ends_at_us != 0 ? CANCEL_POLL_MS
                                     : MIN(deadline_left_ms(patience->deadline), CANCEL_POLL_MS);
}

/* Moves bytes until the child has closed its ends; a grandchild that keeps them open holds us to the deadline
 * only while the child itself lives. */
static gboolean pump(const ProcessSpec *spec, int child_fd, Pipe pipes[3], const Deadline *deadline,
                     GError **error)
{
    Patience patience = {.deadline = deadline, .grace_ms = spec->grace_ms};
    gsize written = 0;

    if (pipes[0].fd >= 0 && spec->input_length == 0)
        pipe_close(&pipes[0]);
    for (;;) {
        struct pollfd polled[4] = {
            {.fd = pipes[0].fd, .events = POLLOUT},
            {.fd = pipes[1].fd, .events = POLLIN},
            {.fd = pipes[2].fd, .events = POLLIN},
            {.fd = child_fd, .events = POLLIN},
        };
        int ready = poll(polled, G_N_ELEMENTS(polled), patience_poll_ms(&patience));

        if (ready < 0 && errno != EINTR)
            return fail_errno(error, errno, "cannot poll %s", spec->argv[0]);
        if (!patience_check(&patience, error))
            return FALSE;
        if (ready <= 0)
            continue;
        if (polled[0].revents != 0)
            pipe_write(&pipes[0], spec, &written);
        if (polled[1].revents != 0)
            pipe_read(&pipes[1]);
        if (polled[2].revents != 0)
            pipe_read(&pipes[2]);
        /* The child has ended and its pipes are empty. */
        if (polled[3].revents != 0 && polled[1].revents == 0 && polled[2].revents == 0)
            return TRUE;
    }
}

static gboolean set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* Ours of each pipe in pipes; what was made is closed on failure. Descriptors below 3 are taken in any
 * program of ours, so that no end is in the way of another's number. */
static gboolean spawn_with_pipes(const ProcessSpec *spec, Pipe pipes[3], pid_t *ret_pid, GError **error)
{
    int child_ends[3] = {-1, -1, -1};
    const ChildSpec child = {.argv = spec->argv,
                             .environment = spec->environment,
                             .fds = child_ends,
                             .n_fds = 3,
                             .kind = spec->kind};
    gboolean good = TRUE;

    for (int i = spec->input != NULL ? 0 : 1; good && i < 3; i++) {
        int ends[2];

        good = pipe2(ends, O_CLOEXEC) == 0 ||
               fail_errno(error, errno, "cannot make a pipe for %s", spec->argv[0]);
        if (good) {
            child_ends[i] = ends[i == 0 ? 0 : 1];
            pipes[i].fd = ends[i == 0 ? 1 : 0];
        }
    }
    good = good && child_spawn(&child, ret_pid, error);
    for (int i = 0; i < 3; i++) {
        if (child_ends[i] >= 0)
            close(child_ends[i]);
        if (!good)
            pipe_close(&pipes[i]);
    }
    return good;
}

/* Processes that a killed child had started were killed with it; as their subreaper the daemon reaps them. */
static void group_end(pid_t group)
{
    for (int i = 0; i < GROUP_END_TRIES && waitpid(-group, NULL, WNOHANG) >= 0; i++)
        g_usleep(1000);
}

gboolean process_run(const ProcessSpec *spec, const Deadline *deadline, ProcessResult *ret_result,
                     GError **error)
{
    gsize max_bytes = spec->max_output_bytes != 0 ? spec->max_output_bytes : DEFAULT_MAX_OUTPUT_BYTES;
    g_autoptr(GByteArray) output = g_byte_array_new();
    g_autoptr(GByteArray) errors = g_byte_array_new();
    Pipe pipes[3] = {{-1, NULL, 0}, {-1, output, max_bytes}, {-1, errors, max_bytes}};
    pid_t pid;
    int child_fd;
    int status = 0;
    gboolean done;

    if (!spawn_with_pipes(spec, pipes, &pid, error))
        return FALSE;
    child_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    done = child_fd >= 0;
    if (!done)
        fail_errno(error, errno, "cannot watch %s", spec->argv[0]);
    for (int i = 0; done && i < 3; i++)
        if (pipes[i].fd >= 0)
            done = set_nonblocking(pipes[i].fd);
    if (done)
        done = pump(spec, child_fd, pipes, deadline, error);
    if (!done) {
        kill(-pid, SIGKILL);
        g_prefix_error(error, "%s: ", spec->argv[0]);
    }
    for (int i = 0; i < 3; i++)
        pipe_close(&pipes[i]);
    if (child_fd >= 0)
        close(child_fd);
    if (TEMP_FAILURE_RETRY(waitpid(pid, &status, 0)) != pid && done)
        done = fail_errno(error, errno, "cannot wait for %s", spec->argv[0]);
    if (!done) {
        group_end(pid);
        return FALSE;
    }

    ret_result->signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    ret_result->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    ret_result->output_length = output->len;
    g_byte_array_append(output, (const guint8 *)"", 1);
    g_byte_array_append(errors, (const guint8 *)"", 1);
    ret_result->output = (char *)g_byte_array_free(g_steal_pointer(&output), FALSE);
    ret_result->errors = g_strchomp((char *)g_byte_array_free(g_steal_pointer(&errors), FALSE));
    return TRUE;
}

char *process_describe_failure(const ProcessResult *result)
{
    return result->signal_number != 0 ? g_strdup_printf("was killed by signal %d (%s)", result->signal_number,
                                                        g_strsignal(result->signal_number))
                                      : g_strdup_printf("failed with exit code %d", result->exit_code);
}

gboolean process_check(const ProcessSpec *spec, const Deadline *deadline, GError **error)
{
    g_auto(ProcessResult) result = {0};
    g_autofree char *failure = NULL;
    const char *last_line;

    if (!process_run(spec, deadline, &result, error))
        return FALSE;
    if (result.exit_code == 0)
        return TRUE;
    last_line = strrchr(result.errors, '\n');
    failure = process_describe_failure(&result);
    return fail(error, STATUS_INTERNAL, "%s %s: %s", spec->argv[0], failure,
                last_line != NULL ? last_line + 1 : result.errors);
}
