/* SPDX-License-Identifier: Apache-2.0 */
/* Runs other programs: to their end, such as CNI plugins and mkfs.ext4, or only starts them.
 *
 * A child is made by posix_spawn(), because code of ours must not run in a fork of a threaded process. All
 * its signals are unblocked and have their default actions. SIGPIPE must be ignored by the program (a child
 * may not read its input). process_run() blocks the calling worker; at the deadline or on cancellation the
 * child is killed with all that it has started (its process group). Any thread.
 */
#pragma once

#include "common/deadline.h"

typedef struct {
    const char *const *argv;        /* argv[0] is looked up in PATH */
    const char *const *environment; /* "NAME=value", NULL-terminated; NULL: ours */
    const char *input;              /* stdin, NULL: /dev/null */
    gsize input_length;
    gsize max_output_bytes; /* of stdout and of stderr each; 0: 1 MiB; more is read and dropped */
} ProcessSpec;

typedef struct {
    int exit_code; /* 128 + signal when one killed it */
    char *output;  /* stdout, NUL-terminated */
    gsize output_length;
    char *errors; /* stderr, NUL-terminated, white space at the end removed */
} ProcessResult;

void process_result_clear(ProcessResult *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ProcessResult, process_result_clear)

/* Return: TRUE when the program ended, with any exit code. */
gboolean process_run(const ProcessSpec *spec, const Deadline *deadline, ProcessResult *ret_result,
                     GError **error);

/* The same, but an exit code other than 0 is INTERNAL with the last line of stderr. */
gboolean process_check(const ProcessSpec *spec, const Deadline *deadline, GError **error);

typedef struct {
    const char *const *argv;        /* argv[0] is looked up in PATH */
    const char *const *environment; /* NULL: ours */
    const int *fds;                 /* fds[i] becomes descriptor i, -1: /dev/null; it inherits no others */
    guint n_fds;                    /* fds[i] is at least i, for what is below has been replaced by then */
    gboolean new_session;           /* else it leads a process group */
} ChildSpec;

/* Starts a program, which the caller reaps. INTERNAL when it cannot be run. */
gboolean process_start(const ChildSpec *spec, pid_t *ret_pid, GError **error);
