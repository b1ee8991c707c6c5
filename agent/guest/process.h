/* SPDX-License-Identifier: Apache-2.0 */
/* The processes whose streams the daemon uses: each container's first process, and those of Exec. This module
 * has their output, their standard input, and how they ended. A connection of Dial is a Process too: it has
 * no pid, and it ends when the other side has closed its half.
 *
 * The agent reports the end of a process when the process is gone and all that it wrote has been sent. A
 * child that inherited its output may keep the pipe open: PROCESS_LINGER_MS after the end of the process the
 * agent reads what the pipe holds and closes it.
 *
 * The files: process.c has the table and what happens to a process, process_input.c its standard input,
 * process_report.c the messages to the daemon.
 */
#pragma once

#include <limits.h>

#include "agent/guest/fault.h"
#include "agent/guest/loop.h"
#include "agent/guest/messages.h"
#include "agent/guest/stream.h"

enum {
    ID_MAX = 128,
    PROCESSES_MAX = 512,
    PROCESS_LINGER_MS = 1000,
    PROCESS_INPUT_BYTES = 1 << 20,
};

typedef struct Process {
    struct Process *next;
    char container_id[ID_MAX + 1]; /* empty: a connection */
    char exec_id[ID_MAX + 1];      /* empty: the container's own */
    pid_t pid;                     /* 0: not known yet */
    int pending_signal;            /* a signal that came before the pid was known; 0: none */
    bool gone;
    Child child;
    Timer linger;
    OutStream streams[2]; /* by Stream */
    int child_fds[3];     /* the ends that crun inherits; -1: /dev/null */
    int tty_fd;           /* the terminal, for its size; -1: none */
    Watch input;          /* the writing end of standard input; fd -1: none */
    uint8_t *input_queue;
    size_t input_length, input_done;
    bool input_ends;
    uint64_t input_received,
        input_written;    /* bytes since the start; written includes bytes that nothing will read */
    uint64_t input_acked; /* the last offset sent in an InputAck */
    bool hung_up;         /* the client has gone */
    bool held;            /* process_hold() */
    int exit_code;
    int64_t finished_at_ns;
    bool oom_killed;
    bool in_guest; /* an exec that is not in the container (in_guest.h) */
    bool end_held; /* its end is not to be reported yet */
    int64_t oom_kills_before;
    uint64_t mark; /* of an exec: what process_tree.h finds its descendants by */
    bool exit_sent, exit_acked;
    const void *starter;                                 /* the Call that starts it */
    void (*exited)(void *data, struct Process *process); /* called before the end is reported */
    void *exited_data;
} Process;

/* Return: true for 1 to ID_MAX of [a-zA-Z0-9_.-] except "." and "..", so that an id can be the name of a
 * file. */
bool id_is_valid(const char *id);

/* Makes a process with its pipes (none for a terminal). This module owns it until process_forget(). */
Process *process_new(const char *container_id, const char *exec_id, bool tty, bool with_input,
                     Fault *ret_fault);
Process *process_find(const char *container_id, const char *exec_id);
/* Return: the process after this one; of NULL, the first; NULL at the end. */
Process *process_next(const Process *process);
/* Gives the process the terminal that crun made. Takes fd, also on failure. */
bool process_set_terminal(Process *process, int fd, bool with_input);
/* Makes the process a connection, which can be used at once. Takes fd, also on failure. */
bool process_set_connection(Process *process, int fd);
/* Closes the ends that crun has inherited. */
void process_close_child_fds(Process *process);
/* Reads the output of the process from now on, and waits for its end. */
void process_run(Process *process, pid_t pid);
/* For a process of a restored guest that is frozen: what it wrote and what it was given belong to the pod
 * that was saved. Drops both, counts output and input from 0 again, and reads nothing of it until it ends, or
 * until process_release(). */
void process_hold(Process *process);
void process_release(Process *process);
/* Ends a process that could not be started, with exit code 128. The end is not reported. */
void process_never_started(Process *process);
/* Closes and frees everything. Unsent output is lost, and the end of the process is not reported. */
void process_forget(Process *process);
/* Forgets the container's first process and all its execs. */
void process_forget_container(const char *container_id);

bool process_resize(Process *process, unsigned columns, unsigned rows);
/* Signals the process, or remembers the signal until it runs. Return: false with errno. A process that has
 * ended is no error. */
bool process_signal(Process *process, int signal_number);

/* Called for messages of the daemon. */
void process_input(const Input *input);
void process_acknowledge(const Ack *ack);
void process_rewind_all(void);
/* Hangs up all execs and connections: they belong to a daemon that has gone. */
void processes_hang_up(void);
size_t process_next_message(uint8_t *payload, size_t room);
