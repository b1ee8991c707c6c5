/* The processes that the daemon knows: each container's first one, and those of Exec. Their streams, standard
 * input, and how they ended. A connection of Dial is one too: without a pid, and ended when the other side
 * has closed its half.
 *
 * A process is told to have exited when it is gone and all that it wrote has been sent. A child of it that
 * inherited its output may keep the pipe open: PROCESS_LINGER_MS after the end of the process what is in the
 * pipe is read, and the pipe closed.
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
    int pending_signal;            /* came before the pid was known */
    bool gone;
    Child child;
    Timer linger;
    OutStream streams[2]; /* by Stream */
    int child_fds[3];     /* the other ends, for crun; -1: /dev/null */
    int tty_fd;           /* to resize; -1 */
    Watch input;          /* standard input's writing end; fd -1 */
    uint8_t *input_queue;
    size_t input_length, input_done;
    bool input_ends;
    uint64_t input_received, input_written; /* bytes since the start; written: or given up */
    uint64_t input_acked;                   /* told to the daemon */
    bool hung_up;                           /* the daemon has no use for it any more */
    int exit_code;
    int64_t finished_at_ns;
    bool oom_killed;
    int64_t oom_kills_before;
    bool exit_sent, exit_acked;
    const void *starter;                                 /* the Call that is starting it */
    void (*exited)(void *data, struct Process *process); /* before it is told */
    void *exited_data;
} Process;

/* 1 to ID_MAX of [a-zA-Z0-9_.-], and not "." or "..": fit for a file's name. */
bool id_is_valid(const char *id);

/* Makes the pipes, none of them for a terminal. The process belongs to this module until process_forget(). */
Process *process_new(const char *container_id, const char *exec_id, bool tty, bool with_input,
                     Fault *ret_fault);
Process *process_find(const char *container_id, const char *exec_id);
/* The terminal that crun made; takes fd. */
bool process_set_terminal(Process *process, int fd, bool with_input);
/* A connection: takes fd; it may be used at once. */
bool process_set_connection(Process *process, int fd);
/* The ends that crun inherited are closed here. */
void process_close_child_fds(Process *process);
/* It runs: its output is read, its end waited for. */
void process_run(Process *process, pid_t pid);
/* Closes and frees everything; unsent output is lost. Its end, if still to come, is nobody's. */
void process_forget(Process *process);
/* The container's own and all its execs. */
void process_forget_container(const char *container_id);

bool process_resize(Process *process, unsigned columns, unsigned rows);
/* False with errno. A process that is gone already is no error. */
bool process_signal(Process *process, int signal_number, bool whole_group);

/* What main() connects to the channel. */
void process_input(const Input *input);
void process_acknowledge(const Ack *ack);
void process_rewind_all(void);
/* Execs and connections of a daemon that is gone. */
void processes_hang_up(void);
size_t process_next_message(uint8_t *payload, size_t room);
