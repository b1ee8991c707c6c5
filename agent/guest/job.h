/* A run of crun (or of ourselves, to remove a tree): started, and its end told. */
#pragma once

#include <stdbool.h>

#include "agent/guest/fault.h"
#include "agent/guest/loop.h"

enum { JOB_TIMEOUT_MS = 60000 }; /* of a crun */

typedef struct Job {
    Child child;
    Timer timeout;
    bool timed_out;
    char log_path[64]; /* where crun wrote what went wrong; empty: nowhere */
    const char *failing;
    void (*done)(void *data, struct Job *job, const Fault *failure);
    void *data;
} Job;

typedef struct {
    const char *const *argv; /* argv[0] is a path */
    bool with_log;  /* it is crun, run from crun_program(): "--log=" is added, and a failure quotes the last
                       line of it */
    const int *fds; /* three for the child; NULL or -1: /dev/null */
    int oom_score_adj;   /* what the child starts with, and its children */
    const char *failing; /* how a failure's message begins: "crun create" */
} JobSpec;

/* done() is called from the loop, once, unless this fails; its failure is NULL when the exit code was 0. The
 * job is freed after it. */
bool job_start(const JobSpec *spec, void (*done)(void *, Job *, const Fault *), void *data, Fault *ret_fault);
