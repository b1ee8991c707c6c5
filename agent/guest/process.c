#include "agent/guest/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/channel.h"
#include "agent/guest/fault.h"
#include "agent/wire/wire.h"

enum {
    /* An acknowledgement for each small write would be as much work as the writes. */
    INPUT_ACK_BYTES = WIRE_INPUT_WINDOW_BYTES / 4,
    /* Who finds a pipe full and who finds it empty take turns, so it holds much. */
    PIPE_BYTES = 256 << 10,
};

static struct {
    Process *first;
    unsigned count;
    Process *turn; /* whose output goes next: one loud process must not silence the others */
} processes;

bool id_is_valid(const char *id)
{
    size_t length = strlen(id);
    if (length == 0 || length > ID_MAX || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
        return false;
    return strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == length;
}

Process *process_find(const char *container_id, const char *exec_id)
{
    for (Process *process = processes.first; process != NULL; process = process->next)
        if (strcmp(process->container_id, container_id) == 0 && strcmp(process->exec_id, exec_id) == 0)
            return process;
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void process_close_child_fds(Process *process)
{
    for (int i = 0; i < 3; i++)
        close_fd(&process->child_fds[i]);
}

static bool is_connection(const Process *process)
{
    return process->container_id[0] == '\0';
}

static bool process_runs(const Process *process)
{
    return process->pid != 0 || is_connection(process);
}

/* A connection's reset is said once, to whoever reads or writes next. EPIPE comes after the other side's end,
 * which is no failure of what it sent. */
static void note_failed_write(Process *process, int error_number)
{
    if (error_number != EPIPE && process->streams[0].error == 0)
        process->streams[0].error = error_number;
}

/* What is still queued, or comes later, counts as written. */
static void input_close(Process *process)
{
    if (is_connection(process) && process->input.fd >= 0)
        shutdown(process->input.fd, SHUT_WR);
    watch_remove(&process->input);
    close_fd(&process->input.fd);
    free(process->input_queue);
    process->input_queue = NULL;
    process->input_length = process->input_done = 0;
    process->input_written = process->input_received;
}

static void input_write(void *data)
{
    Process *process = data;
    while (process->input_done < process->input_length) {
        ssize_t n = write(process->input.fd, process->input_queue + process->input_done,
                          process->input_length - process->input_done);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            watch_add(&process->input, EPOLLOUT);
            return;
        }
        if (n < 0) { /* nobody reads it any more */
            note_failed_write(process, errno);
            input_close(process);
            return;
        }
        process->input_done += (size_t)n;
        process->input_written += (uint64_t)n;
    }
    process->input_length = process->input_done = 0;
    free(process->input_queue);
    process->input_queue = NULL;
    watch_remove(&process->input);
    if (process->input_ends && process->tty_fd < 0)
        input_close(process);
}

static bool open_pipe(int *ret_ours, int *ret_theirs, bool we_read)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return false;
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* as it was, where that is not allowed */
    *ret_ours = ends[we_read ? 0 : 1];
    *ret_theirs = ends[we_read ? 1 : 0];
    fcntl(*ret_ours, F_SETFL, O_NONBLOCK);
    return true;
}

static bool open_output(Process *process, int stream)
{
    int ours;
    if (!open_pipe(&ours, &process->child_fds[1 + stream], true))
        return false;
    if (stream_open(&process->streams[stream], ours))
        return true;
    close(ours);
    return false;
}

static bool open_pipes(Process *process, bool with_input)
{
    if (with_input && !open_pipe(&process->input.fd, &process->child_fds[0], false))
        return false;
    return open_output(process, 0) && open_output(process, 1);
}

Process *process_new(const char *container_id, const char *exec_id, bool tty, bool with_input,
                     Fault *ret_fault)
{
    if (processes.count >= PROCESSES_MAX) {
        fault(ret_fault, FAULT_RESOURCE_EXHAUSTED, "the pod has %d processes of the daemon's already",
              PROCESSES_MAX);
        return NULL;
    }
    Process *process = calloc(1, sizeof *process);
    if (process == NULL) {
        fault(ret_fault, FAULT_RESOURCE_EXHAUSTED, "out of memory for a process");
        return NULL;
    }
    strcpy(process->container_id, container_id); /* NOLINT: both are valid ids */
    strcpy(process->exec_id, exec_id);           /* NOLINT */
    process->tty_fd = process->input.fd = -1;
    process->child_fds[0] = process->child_fds[1] = process->child_fds[2] = -1;
    process->input.call = input_write;
    process->input.data = process;
    process->next = processes.first;
    processes.first = process;
    processes.count++;

    if (!tty && !open_pipes(process, with_input)) {
        fault_errno(ret_fault, "making pipes");
        process_forget(process);
        return NULL;
    }
    return process;
}

bool process_set_terminal(Process *process, int fd, bool with_input)
{
    process->tty_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (with_input)
        process->input.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (process->tty_fd >= 0 && stream_open(&process->streams[0], fd))
        return true;
    close(fd);
    return false;
}

bool process_set_connection(Process *process, int fd)
{
    process->input.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (process->input.fd >= 0 && stream_open(&process->streams[0], fd)) {
        stream_start(&process->streams[0]);
        return true;
    }
    close(fd);
    return false;
}

void process_forget(Process *process)
{
    Process **place = &processes.first;
    while (*place != process)
        place = &(*place)->next;
    *place = process->next;
    processes.count--;
    if (processes.turn == process)
        processes.turn = process->next;

    child_forget(&process->child);
    timer_stop(&process->linger);
    stream_close(&process->streams[0]);
    stream_close(&process->streams[1]);
    input_close(process);
    process_close_child_fds(process);
    close_fd(&process->tty_fd);
    free(process);
}

void process_forget_container(const char *container_id)
{
    for (Process *process = processes.first, *next; process != NULL; process = next) {
        next = process->next;
        if (strcmp(process->container_id, container_id) == 0)
            process_forget(process);
    }
}

static void hang_up(Process *process)
{
    process->hung_up = true;
    if (process->pid == 0 && !is_connection(process))
        return; /* it is being started: process_run() comes here */
    process->input_ends = true;
    input_close(process);
    stream_hang_up(&process->streams[0]);
    stream_hang_up(&process->streams[1]);
    close_fd(&process->tty_fd);
}

void processes_hang_up(void)
{
    for (Process *process = processes.first; process != NULL; process = process->next)
        if (process->exec_id[0] != '\0')
            hang_up(process);
}

static void linger_over(void *data)
{
    Process *process = data;
    stream_stop(&process->streams[0]);
    stream_stop(&process->streams[1]);
}

static void process_ended(void *data, int wait_status)
{
    Process *process = data;

    process->gone = true;
    process->exit_code = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    process->finished_at_ns = clock_wall_ns();
    input_close(process);
    process->linger.call = linger_over;
    process->linger.data = process;
    timer_start(&process->linger, PROCESS_LINGER_MS);
    process->exited(process->exited_data, process);
}

void process_run(Process *process, pid_t pid)
{
    process->pid = pid;
    process->child = (Child){.pid = pid, .call = process_ended, .data = process};
    child_watch(&process->child);
    stream_start(&process->streams[0]);
    stream_start(&process->streams[1]);
    if (process->input.fd >= 0 && (process->input_length > 0 || process->input_ends))
        input_write(process);
    if (process->pending_signal != 0)
        process_signal(process, process->pending_signal, false);
    if (process->hung_up)
        hang_up(process);
}

bool process_resize(Process *process, unsigned columns, unsigned rows)
{
    struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    if (process->tty_fd < 0) {
        errno = ENOTTY;
        return false;
    }
    return ioctl(process->tty_fd, TIOCSWINSZ, &size) == 0;
}

bool process_signal(Process *process, int signal_number, bool whole_group)
{
    if (process->gone)
        return true;
    if (process->pid == 0) {
        process->pending_signal = signal_number;
        return true;
    }
    /* Not reaped yet, so the pid is still its own. */
    if (whole_group && getpgid(process->pid) == process->pid)
        return kill(-process->pid, signal_number) == 0 || errno == ESRCH;
    return kill(process->pid, signal_number) == 0 || errno == ESRCH;
}

/* ---- from and to the daemon ---- */

static Process *process_named(const ProcessId *id)
{
    return id == NULL ? NULL : process_find(id->container_id, id->exec_id);
}

static bool input_append(Process *process, const uint8_t *data, size_t length)
{
    if (process->input_done > 0) {
        memmove(process->input_queue, process->input_queue + process->input_done,
                process->input_length - process->input_done);
        process->input_length -= process->input_done;
        process->input_done = 0;
    }
    if (length > PROCESS_INPUT_BYTES - process->input_length)
        return false;
    uint8_t *queue = realloc(process->input_queue, process->input_length + length);
    if (queue == NULL)
        return false;
    memcpy(queue + process->input_length, data, length);
    process->input_queue = queue;
    process->input_length += length;
    return true;
}

/* What the process takes at once needs no queue; how much that was. */
static size_t input_write_through(Process *process, const uint8_t *data, size_t length)
{
    if (process->input_length > 0 || !process_runs(process))
        return 0;
    ssize_t n = write(process->input.fd, data, length);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        note_failed_write(process, errno); /* input_write() meets the end of it */
    if (n <= 0)
        return 0;
    process->input_written += (uint64_t)n;
    return (size_t)n;
}

/* The part of an Input that we do not have yet. Not more than its window is unwritten at an honest daemon. */
static void input_take(Process *process, const Input *input)
{
    uint64_t known = process->input_received - input->offset;
    size_t skip = known < input->data.len ? (size_t)known : input->data.len;
    size_t fresh = input->data.len - skip;

    if (fresh > 0 && process->input.fd >= 0) {
        size_t through = input_write_through(process, input->data.data + skip, fresh);
        process->input_received += through;
        skip += through;
        fresh -= through;
    }
    if (fresh > 0 && process->input.fd >= 0 && !input_append(process, input->data.data + skip, fresh)) {
        channel_notice("container %s: %zu bytes of standard input did not fit and are lost",
                       process->container_id, fresh);
        return;
    }
    process->input_received += fresh;
    if (process->input.fd < 0)
        process->input_written = process->input_received;
}

void process_input(const Input *input)
{
    Process *process = process_named(input->process);
    if (process == NULL)
        return;
    if (input->hangup && process->exec_id[0] != '\0') {
        hang_up(process);
        return;
    }
    if (input->offset > process->input_received) {
        channel_notice("container %s: standard input has a gap", process->container_id);
        return;
    }
    input_take(process, input);
    process->input_ends = process->input_ends || input->eof;
    if (process_runs(process) && process->input.fd >= 0 && !process->input.active)
        input_write(process);
}

void process_acknowledge(const Ack *ack)
{
    Process *process = process_named(ack->process);
    if (process == NULL)
        return;
    if (ack->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT ||
        ack->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR)
        stream_acknowledge(&process->streams[ack->stream], ack->offset);
    if (!ack->exited || !process->exit_sent)
        return;
    process->exit_acked = true;
    if (process->exec_id[0] != '\0')
        process_forget(process);
}

void process_rewind_all(void)
{
    for (Process *process = processes.first; process != NULL; process = process->next) {
        stream_rewind(&process->streams[0]);
        stream_rewind(&process->streams[1]);
        process->exit_sent = false;
        process->input_acked = 0;
    }
}

static size_t pack_output(Process *process, int number, uint8_t *payload, ProcessId *id)
{
    OutStream *stream = &process->streams[number];
    const uint8_t *data;
    size_t length;
    bool end;
    if (!stream_peek(stream, WIRE_OUTPUT_BYTES, &data, &length, &end))
        return 0;

    Output output = CRIVIRT__AGENT__V1__OUTPUT__INIT;
    output.process = id;
    output.stream =
        number == 0 ? CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT : CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR;
    output.offset = stream->sent;
    output.data.data = (uint8_t *)data;
    output.data.len = length;
    output.eof = end;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT;
    message.output = &output;
    stream_sent(stream, length, end);
    return crivirt__agent__v1__from_guest__pack(&message, payload);
}

static size_t pack_input_ack(Process *process, uint8_t *payload, ProcessId *id)
{
    uint64_t news = process->input_written - process->input_acked;
    if (news == 0 || (news < INPUT_ACK_BYTES && process->input_written != process->input_received))
        return 0;

    InputAck ack = CRIVIRT__AGENT__V1__INPUT_ACK__INIT;
    ack.process = id;
    ack.offset = process->input_written;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_INPUT_ACK;
    message.input_ack = &ack;
    process->input_acked = process->input_written;
    return crivirt__agent__v1__from_guest__pack(&message, payload);
}

static size_t pack_exit(Process *process, uint8_t *payload, ProcessId *id)
{
    bool gone = process->gone || (is_connection(process) && process->streams[0].ended);
    if (!gone || process->exit_sent || process->exit_acked || !stream_is_finished(&process->streams[0]) ||
        !stream_is_finished(&process->streams[1]))
        return 0;
    Exited exited = CRIVIRT__AGENT__V1__EXITED__INIT;
    exited.process = id;
    exited.exit_code = is_connection(process) ? process->streams[0].error : process->exit_code;
    exited.oom_killed = process->oom_killed;
    exited.finished_at_ns = process->finished_at_ns;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_EXITED;
    message.exited = &exited;
    process->exit_sent = true;
    return crivirt__agent__v1__from_guest__pack(&message, payload);
}

/* An Output of WIRE_OUTPUT_BYTES with two ids of ID_MAX fits what the channel gives. */
_Static_assert(WIRE_OUTPUT_BYTES + 2 * ID_MAX + 128 <= (32 << 10) - WIRE_HEADER_BYTES,
               "one write per Output");

size_t process_next_message(uint8_t *payload, size_t room)
{
    for (unsigned tried = 0; tried < processes.count; tried++) {
        Process *process = processes.turn != NULL ? processes.turn : processes.first;
        processes.turn = process->next;
        if (process->exit_acked)
            continue;

        ProcessId id = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
        id.container_id = process->container_id;
        id.exec_id = process->exec_id;
        size_t length = pack_input_ack(process, payload, &id);
        if (length == 0)
            length = pack_output(process, 1, payload, &id);
        if (length == 0)
            length = pack_output(process, 0, payload, &id);
        if (length == 0)
            length = pack_exit(process, payload, &id);
        if (length > 0)
            return length;
    }
    return 0;
}
