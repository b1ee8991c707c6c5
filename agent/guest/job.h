/* SPDX-License-Identifier: Apache-2.0 */
/* A run of crun, or of the agent's own program to remove or measure a tree. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/loop.h"

enum { JOB_TIMEOUT_MS = 60000 }; /* the longest run of crun */

typedef struct Job {
    Child child;
    Timer timeout;
    bool timed_out;
    char log_path[64]; /* where crun writes its errors; empty: nowhere */
    const char *failing;
    void (*done)(void *data, struct Job *job, const Fault *failure);
    void *data;
} Job;

typedef struct {
    const char *const *argv; /* argv[0] is a path */
    bool with_log;       /* argv[0] is CRUN_PATH: the server of crun (crun_server.h) or crun_program() is run,
                            "--log=" is added, and a failure quotes the last line of the log */
    const int *fds;      /* three for the child; NULL or -1: /dev/null */
    int oom_score_adj;   /* of the child and its children */
    uint64_t mark;       /* of the child and its children: process_tree.h; 0: none */
    const char *failing; /* the start of a failure's message: "crun create" */
} JobSpec;

/* Starts the program. done() is called once from the loop when it has ended, with failure NULL when the exit
 * code was 0; the job is freed after that. Return: false when nothing was started; done() is not called then.
 */
bool job_start(const JobSpec *spec, void (*done)(void *, Job *, const Fault *), void *data, Fault *ret_fault);
