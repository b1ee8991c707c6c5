/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/crun.h"
#include "agent/guest/crun_server.h"
#include "agent/guest/paths.h"
#include "agent/guest/process_tree.h"
#include "agent/guest/spawn.h"
#include "agent/guest/sysfile.h"

extern char **environ;

enum { ARGUMENTS_MAX = 1024 };

/* Reads the last line of crun's log, which has the error. A line is "<time>: text". */
static void job_read_log(const Job *job, char *ret_text, size_t room)
{
    char log[4096];
    *ret_text = '\0';
    if (job->log_path[0] == '\0' || !sysfile_read(job->log_path, log, sizeof log))
        return;
    const char *line = strrchr(log, '\n') != NULL ? strrchr(log, '\n') + 1 : log;
    const char *text = strstr(line, "Z: ");
    snprintf(ret_text, room, "%s", text != NULL && text - line < 40 ? text + 3 : line);
}

static void job_describe_failure(const Job *job, int wait_status, Fault *ret_fault)
{
    char text[900];
    job_read_log(job, text, sizeof text);
    if (job->timed_out)
        fault(ret_fault, FAULT_DEADLINE_EXCEEDED, "%s did not end within %d s", job->failing,
              JOB_TIMEOUT_MS / 1000);
    else if (WIFSIGNALED(wait_status)) /* what it logged before is not the cause */
        fault(ret_fault, FAULT_INTERNAL, "%s was killed by signal %d%s%s", job->failing,
              WTERMSIG(wait_status), text[0] != '\0' ? "; its last message: " : "", text);
    else if (text[0] != '\0')
        fault(ret_fault, FAULT_INTERNAL, "%s: %s", job->failing, text);
    else
        fault(ret_fault, FAULT_INTERNAL, "%s failed with exit code %d", job->failing,
              WEXITSTATUS(wait_status));
}

static void job_free(Job *job)
{
    if (job->log_path[0] != '\0')
        unlink(job->log_path);
    free(job);
}

static void job_ended(void *data, int wait_status)
{
    Job *job = data;
    Fault failure;
    bool failed = !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0;

    timer_stop(&job->timeout);
    if (failed)
        job_describe_failure(job, wait_status, &failure);
    job->done(job->data, job, failed ? &failure : NULL);
    job_free(job);
    child_release(); /* done() watches the process that crun left to the agent */
}

static void job_timed_out(void *data)
{
    Job *job = data;
    job->timed_out = true;
    kill(job->child.pid, SIGKILL);
}

#define OWN_SCORE "/proc/self/oom_score_adj"

/* A child inherits oom_score_adj, and the agent's would protect a container from the OOM killer. The agent
 * therefore sets its own to the child's for the moment of the spawn. */
static int job_execute(const JobSpec *spec, char *const *argv, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    char own_score[16] = "0", score[16];

    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < 3; i++) {
        if (spec->fds != NULL && spec->fds[i] >= 0)
            posix_spawn_file_actions_adddup2(&actions, spec->fds[i], i);
        else
            posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_RDWR, 0);
    }

    sysfile_read(OWN_SCORE, own_score, sizeof own_score);
    snprintf(score, sizeof score, "%d", spec->oom_score_adj);
    sysfile_write(OWN_SCORE, score);
    process_tree_carry(spec->mark);
    int error = spawn_clean(ret_pid, spec->with_log ? crun_program() : argv[0], &actions, argv, environ);
    process_tree_carry(0);
    sysfile_write(OWN_SCORE, own_score);

    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Return: an errno, or 0. */
static int job_spawn(const JobSpec *spec, char *const *argv, pid_t *ret_pid)
{
    int error;

    if (spec->with_log && crun_server_run(argv, spec->fds, spec->oom_score_adj, spec->mark, ret_pid, &error))
        return error;
    return job_execute(spec, argv, ret_pid);
}

static bool job_build_argv(const JobSpec *spec, char *log_option, char **ret_argv, Fault *ret_fault)
{
    size_t n = 0;
    for (size_t i = 0; spec->argv[i] != NULL; i++) {
        if (n + 2 >= ARGUMENTS_MAX)
            return fault(ret_fault, FAULT_INVALID_ARGUMENT, "%s: the command has more than %d arguments",
                         spec->failing, ARGUMENTS_MAX);
        ret_argv[n++] = (char *)spec->argv[i];
        if (i == 0 && spec->with_log)
            ret_argv[n++] = log_option;
    }
    ret_argv[n] = NULL;
    return true;
}

bool job_start(const JobSpec *spec, void (*done)(void *, Job *, const Fault *), void *data, Fault *ret_fault)
{
    static unsigned serial;
    char log_option[80];
    char *argv[ARGUMENTS_MAX];

    Job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return fault(ret_fault, FAULT_RESOURCE_EXHAUSTED, "cannot run %s: out of memory in the guest",
                     spec->failing);
    *job = (Job){.failing = spec->failing, .done = done, .data = data};
    job->child = (Child){.call = job_ended, .data = job};
    job->timeout = (Timer){.call = job_timed_out, .data = job};
    if (spec->with_log)
        snprintf(job->log_path, sizeof job->log_path, RUN_DIR "/log.%u", serial++);
    snprintf(log_option, sizeof log_option, "--log=%s", job->log_path);

    if (!job_build_argv(spec, log_option, argv, ret_fault)) {
        job_free(job);
        return false;
    }
    int error = argv[0] != NULL ? job_spawn(spec, argv, &job->child.pid) : EINVAL;
    if (error != 0) {
        errno = error;
        fault_errno(ret_fault, "running %s", spec->argv[0]);
        job_free(job);
        return false;
    }
    child_hold();
    child_watch(&job->child);
    if (spec->with_log)
        timer_start(&job->timeout, JOB_TIMEOUT_MS);
    return true;
}
