/* SPDX-License-Identifier: Apache-2.0 */
/* How a container ends: the end of its first process, Signal, DeleteContainer. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/container.h"
#include "agent/guest/crun.h"
#include "agent/guest/job.h"
#include "agent/guest/paths.h"
#include "agent/guest/rootfs.h"

/* Another process may get the pid that the link names. */
static void container_unlink_pid_namespace(const Container *container)
{
    char path[256];
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/pidns", container->id);
    unlink(path);
}

void container_exited(void *data, Process *process)
{
    Container *container = data;
    process->oom_killed = container_oom_kills(container) > 0;
    container->state = CONTAINER_EXITED;
    container_unlink_pid_namespace(container);
    /* A DeleteContainer that killed the process goes on. */
    if (container->killing)
        call_retry(container->active, 0);
}

/* ---- signal ---- */

/* Signals every process of the container. The kernel delivers KILL to the whole cgroup at once; other signals
 * are sent one by one. */
static bool container_signal_all(const Container *container, int signal_number)
{
    char path[sizeof container->cgroup + 32];
    if (signal_number == SIGKILL)
        return cgroup_kill(container->cgroup);
    snprintf(path, sizeof path, "%s/cgroup.procs", container->cgroup);
    FILE *list = fopen(path, "re");
    if (list == NULL)
        return false;
    int pid;
    while (fscanf(list, "%d", &pid) == 1) /* NOLINT: the kernel's numbers */
        if (pid > 1)
            kill(pid, signal_number);
    fclose(list);
    return true;
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
    else if ((request->all && id->exec_id[0] == '\0' && container_signal_all(container, request->signal)) ||
             process_signal(process, request->signal, request->all)) {
        reply_signal(call, &result);
        return;
    } else
        fault_errno(&error, "sending signal %d to container %s", request->signal, id->container_id);
    call_fail(call, &error);
}

/* ---- delete ---- */

static void delete_done(void *data, Job *job, const Fault *failure)
{
    Container *container = data;
    Call *call = container->active;
    uint32_t released[LAYERS_MAX];
    DeleteContainerResponse result = CRIVIRT__AGENT__V1__DELETE_CONTAINER_RESPONSE__INIT;

    if (failure != NULL)
        complain("container %s: %s", container->id, failure->message);
    result.released_luns = released;
    result.n_released_luns = rootfs_unmount(&container->rootfs, released);
    container->active = NULL;
    container_free(container);
    reply_delete_container(call, &result);
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
    if (first && !container->process->gone) {
        if (!cgroup_kill(container->cgroup))
            process_signal(container->process, SIGKILL, false);
        container->killing = true;
        call_retry(call, DELETE_KILL_MS);
        return;
    }
    container->killing = false;
    const char *const argv[] = {CRUN_PATH, CRUN_CGROUPS, "delete", "--force", container->id, NULL};
    const JobSpec spec = {.argv = argv, .with_log = true, .failing = "crun delete"};
    if (!job_start(&spec, delete_done, container, &error)) {
        call_fail(call, &error);
        container_leave(container);
    }
}
