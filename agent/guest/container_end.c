/* SPDX-License-Identifier: Apache-2.0 */
/* How a container ends: the end of its first process, Signal, DeleteContainer. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/channel.h"
#include "agent/guest/container.h"
#include "agent/guest/crun.h"
#include "agent/guest/in_guest.h"
#include "agent/guest/job.h"
#include "agent/guest/paths.h"
#include "agent/guest/process_tree.h"
#include "agent/guest/rootfs.h"

enum {
    END_WAIT_MS = 2000, /* how long a container's end waits for the processes that it killed */
    END_POLL_MS = 5,
};

/* Another process may get the pid that the link names. */
static void container_unlink_pid_namespace(const Container *container)
{
    char path[256];
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/pidns", container->id);
    unlink(path);
}

static void container_end_over(Container *container)
{
    container->ending = false;
    container->state = CONTAINER_EXITED;
    container->process->end_held = false;
    /* A DeleteContainer that killed the container goes on. */
    if (container->killing)
        call_retry(container->active, 0);
}

/* Waits until the cgroup is empty. A process that KILL does not end, because it waits in the kernel, is
 * waited for no longer than END_WAIT_MS. */
static void container_await_end(void *data)
{
    Container *container = data;
    if (cgroup_is_empty(container->cgroup)) {
        container_end_over(container);
    } else if (clock_monotonic_ns() - container->ending_since_ns < END_WAIT_MS * INT64_C(1000000)) {
        timer_start(&container->end_wait, END_POLL_MS);
    } else {
        channel_notice("container %s has ended, but some of its processes are still there %d ms after KILL",
                       container->id, END_WAIT_MS);
        container_end_over(container);
    }
}

/* In a PID namespace that containers share, the kernel does not kill what the first process leaves behind.
 * The container ends when all its processes have ended, so that the next one finds ports and locks free. */
void container_exited(void *data, Process *process)
{
    Container *container = data;
    process->oom_killed = container_oom_kills(container) > 0;
    process->end_held = true;
    container->held = false;
    container_unlink_pid_namespace(container);
    cgroup_kill(container->cgroup);
    in_guest_kill(container);
    container->paused = false;
    container->ending = true;
    container->ending_since_ns = clock_monotonic_ns();
    container->end_wait = (Timer){.call = container_await_end, .data = container};
    container_await_end(container);
}

/* ---- signal ---- */

static bool signal_one(int pid, void *data)
{
    const int *signal_number = data;
    if (pid > 1)
        kill(pid, *signal_number);
    return true;
}

/* Signals every process of the container. The kernel delivers KILL to the whole cgroup at once; other signals
 * are sent one by one. */
static bool container_signal_all(const Container *container, int signal_number)
{
    if (signal_number == SIGKILL)
        return cgroup_kill(container->cgroup);
    return cgroup_each_process(container->cgroup, signal_one, &signal_number);
}

/* Signals the whole container or, for an exec, all that it has started, also after its own end. Return: false
 * when that cannot be done yet; the signal is then for the process alone, and exec.c repeats it. */
static bool signal_all(const Container *container, const Process *process, int signal_number)
{
    if (process->exec_id[0] == '\0')
        return container_signal_all(container, signal_number);
    if (process->in_guest) /* other commands of the container have the same mark */
        return process->pid != 0 && !process->gone &&
               process_tree_signal(CGROUP_ROOT, process->pid, 0, signal_number);
    return process->pid != 0 && process_tree_signal(container->cgroup, process->gone ? 0 : process->pid,
                                                    process->mark, signal_number);
}

/* A signal does not wait for the container's other operations, because it is how a hanging one is ended. */
void op_signal(Call *call)
{
    const SignalRequest *request = call->request->signal;
    const ProcessId *id = request->process;
    Container *container = id != NULL ? container_find(id->container_id) : NULL;
    Process *process = container != NULL ? process_find(id->container_id, id->exec_id) : NULL;
    SignalResponse result = CRIVIRT__AGENT__V1__SIGNAL_RESPONSE__INIT;
    Fault error;

    if (request->signal < 1 || request->signal > SIGRTMAX)
        fault(&error, FAULT_INVALID_ARGUMENT, "%d is not a signal number", request->signal);
    else if (process == NULL)
        fault(&error, FAULT_NOT_FOUND, "the pod has no process \"%s\" of container %s",
              id != NULL ? id->exec_id : "", id != NULL ? id->container_id : "(not given)");
    else if ((request->all && signal_all(container, process, request->signal)) ||
             process_signal(process, request->signal)) {
        reply_signal(call, &result);
        return;
    } else
        fault_errno(&error, "sending signal %d to container %s", request->signal, id->container_id);
    call_fail(call, &error);
}

/* ---- delete ---- */

static void delete_finish(Container *container)
{
    Call *call = container->active;
    uint32_t released[LAYERS_MAX];
    DeleteContainerResponse result = CRIVIRT__AGENT__V1__DELETE_CONTAINER_RESPONSE__INIT;

    result.released_luns = released;
    result.n_released_luns = rootfs_unmount(&container->rootfs, released);
    container->active = NULL;
    container_free(container);
    reply_delete_container(call, &result);
}

static void delete_done(void *data, Job *job, const Fault *failure)
{
    const Container *container = data;

    if (failure != NULL)
        complain("container %s: %s", container->id, failure->message);
    delete_finish(data);
}

/* Runs twice for a container that still runs: the first time it kills the container, the second time, when
 * the first process has been reaped or DELETE_KILL_MS have passed, it deletes it. */
void op_delete_container(Call *call)
{
    Container *container = container_find(call->request->delete_container->id);
    DeleteContainerResponse result = CRIVIRT__AGENT__V1__DELETE_CONTAINER_RESPONSE__INIT;
    Fault error;

    if (container == NULL) {
        reply_delete_container(call, &result);
        return;
    }
    bool first = container->active != call;
    if (!container_enter(container, call))
        return;
    if (first && container->start_failure == NULL && (!container->process->gone || container->ending)) {
        if (!cgroup_kill(container->cgroup))
            process_signal(container->process, SIGKILL);
        container->killing = true;
        call_retry(call, DELETE_KILL_MS);
        return;
    }
    container->killing = false;
    if (container->start_failure != NULL || /* crun has no record of it */
        crun_forget(container->id, container->cgroup)) {
        delete_finish(container);
        return;
    }
    const char *const argv[] = {CRUN_PATH, CRUN_CGROUPS, crun_root, "delete", "--force", container->id, NULL};
    const JobSpec spec = {.argv = argv, .with_log = true, .failing = "crun delete"};
    if (!job_start(&spec, delete_done, container, &error)) {
        call_fail(call, &error);
        container_leave(container);
    }
}
