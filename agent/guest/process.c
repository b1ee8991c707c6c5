/* SPDX-License-Identifier: Apache-2.0 */
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

#include "agent/guest/fault.h"
#include "agent/guest/process_parts.h"

enum {
    /* The process waits when the pipe is full and the agent when it is empty; a large pipe means fewer turns.
     */
    PIPE_BYTES = 256 << 10,
    EXIT_CODE_NOT_STARTED = 128, /* as containerd reports it */
};

static struct {
    Process *first;
    unsigned count;
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

Process *process_next(const Process *process)
{
    return process != NULL ? process->next : processes.first;
}

unsigned processes_count(void)
{
    return processes.count;
}

bool process_is_connection(const Process *process)
{
    return process->container_id[0] == '\0';
}

Process *process_of_id(const ProcessId *id)
{
    return id == NULL ? NULL : process_find(id->container_id, id->exec_id);
}

static void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void process_close_child_fds(Process *process)
{
    for (int i = 0; i < 3; i++)
        fd_close(&process->child_fds[i]);
}

static bool pipe_open(int *ret_ours, int *ret_theirs, bool we_read)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return false;
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* where that is not allowed, the pipe keeps its size */
    *ret_ours = ends[we_read ? 0 : 1];
    *ret_theirs = ends[we_read ? 1 : 0];
    fcntl(*ret_ours, F_SETFL, O_NONBLOCK);
    return true;
}

static bool process_open_output(Process *process, int stream)
{
    int ours;
    if (!pipe_open(&ours, &process->child_fds[1 + stream], true))
        return false;
    if (stream_open(&process->streams[stream], ours))
        return true;
    close(ours);
    return false;
}

static bool process_open_pipes(Process *process, bool with_input)
{
    if (with_input && !pipe_open(&process->input.fd, &process->child_fds[0], false))
        return false;
    return process_open_output(process, 0) && process_open_output(process, 1);
}

Process *process_new(const char *container_id, const char *exec_id, bool tty, bool with_input,
                     Fault *ret_fault)
{
    if (processes.count >= PROCESSES_MAX) {
        fault(ret_fault, FAULT_RESOURCE_EXHAUSTED,
              "the pod has %d containers, execs and connections already, which is the most that the agent "
              "serves",
              PROCESSES_MAX);
        return NULL;
    }
    Process *process = calloc(1, sizeof *process);
    if (process == NULL) {
        fault(ret_fault, FAULT_RESOURCE_EXHAUSTED, "cannot start a process: out of memory in the guest");
        return NULL;
    }
    strcpy(process->container_id, container_id); /* NOLINT: both are valid ids */
    strcpy(process->exec_id, exec_id);           /* NOLINT */
    process->tty_fd = process->input.fd = -1;
    process->child_fds[0] = process->child_fds[1] = process->child_fds[2] = -1;
    process->input.call = process_input_flush;
    process->input.data = process;
    process->next = processes.first;
    processes.first = process;
    processes.count++;

    if (!tty && !process_open_pipes(process, with_input)) {
        fault_errno(ret_fault, "making the pipes of container %s", container_id);
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
    process_report_forget(process);

    child_forget(&process->child);
    timer_stop(&process->linger);
    stream_close(&process->streams[0]);
    stream_close(&process->streams[1]);
    process_input_close(process);
    process_close_child_fds(process);
    fd_close(&process->tty_fd);
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

void process_hang_up(Process *process)
{
    process->hung_up = true;
    if (process->pid == 0 && !process_is_connection(process))
        return; /* it is being started: process_run() hangs it up */
    process->input_ends = true;
    process_input_close(process);
    stream_hang_up(&process->streams[0]);
    stream_hang_up(&process->streams[1]);
    fd_close(&process->tty_fd);
}

void processes_hang_up(void)
{
    for (Process *process = processes.first; process != NULL; process = process->next)
        if (process->exec_id[0] != '\0')
            process_hang_up(process);
}

void process_hold(Process *process)
{
    process->held = true;
    stream_begin_anew(&process->streams[0]);
    stream_begin_anew(&process->streams[1]);
    process_input_forget(process);
}

void process_release(Process *process)
{
    if (!process->held)
        return;
    process->held = false;
    stream_start(&process->streams[0]);
    stream_start(&process->streams[1]);
}

static void process_linger_over(void *data)
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
    process_input_close(process);
    process_release(process);
    process->linger.call = process_linger_over;
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
        process_input_flush(process);
    if (process->pending_signal != 0)
        process_signal(process, process->pending_signal);
    if (process->hung_up)
        process_hang_up(process);
}

void process_never_started(Process *process)
{
    if (process->gone)
        return;
    process->gone = true;
    process->exit_code = EXIT_CODE_NOT_STARTED;
    process->finished_at_ns = clock_wall_ns();
    process->exit_acked = true;
    process_input_close(process);
    stream_close(&process->streams[0]);
    stream_close(&process->streams[1]);
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

bool process_signal(Process *process, int signal_number)
{
    if (process->gone)
        return true;
    if (process->pid == 0) {
        process->pending_signal = signal_number;
        return true;
    }
    /* The process has not been reaped, so no other process has its pid. */
    return kill(process->pid, signal_number) == 0 || errno == ESRCH;
}
