/* SPDX-License-Identifier: Apache-2.0 */
/* Runs other programs to their end, such as CNI plugins and mkfs.ext4.
 *
 * SIGPIPE must be ignored by the caller's program (a child may not read its input). process_run() blocks the
 * calling worker; at the deadline or on cancellation, and after the grace, the child is killed with all that
 * it has started (its process group). Any thread.
 */
#pragma once

#include "common/child.h"
#include "common/deadline.h"

typedef struct {
    const char *const *argv;        /* argv[0] is looked up in PATH */
    const char *const *environment; /* "NAME=value", NULL-terminated; NULL: that of its kind */
    const char *input;              /* stdin, NULL: /dev/null */
    gsize input_length;
    gsize max_output_bytes; /* of stdout and of stderr each; 0: 1 MiB; more is read and dropped */
    gint64 grace_ms; /* how long the child may go on when the caller has given up: in this time it may end
                        well */
    ChildKind kind;
} ProcessSpec;

typedef struct {
    int exit_code;     /* 128 + signal when one killed it */
    int signal_number; /* that killed it; 0: none */
    char *output;      /* stdout, NUL-terminated */
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

/* Return: how a program ended that has failed, "failed with exit code 2" or "was killed by signal 9
 * (Killed)"; the caller frees it. */
char *process_describe_failure(const ProcessResult *result);
