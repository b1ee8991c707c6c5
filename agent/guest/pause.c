/* SPDX-License-Identifier: Apache-2.0 */
/* PauseContainer: the freezer of a container's cgroup. */
#include <stdio.h>

#include "agent/guest/call.h"
#include "agent/guest/cgroup.h"
#include "agent/guest/container.h"
#include "agent/guest/freeze.h"

enum {
    PAUSE_TIMEOUT_MS = 10000, /* a process that waits in the kernel, for a volume's server, freezes late */
    PAUSE_POLL_MS = 2,
};

static void pause_end(Container *container, const Fault *failure)
{
    Call *call = container->active;
    PauseContainerResponse result = CRIVIRT__AGENT__V1__PAUSE_CONTAINER_RESPONSE__INIT;

    if (failure != NULL)
        call_fail(call, failure);
    else
        reply_pause_container(call, &result);
    container_leave(container);
}

static bool pause_check(const Container *container, Fault *ret_fault)
{
    if (container->state != CONTAINER_RUNNING || container->killing || container->ending)
        return fault(ret_fault, FAULT_FAILED_PRECONDITION, "container %s is not running", container->id);
    return true;
}

/* A container that froze only in part goes on as a whole. */
static bool pause_give_up(Container *container, Fault *ret_fault)
{
    cgroup_freeze(container->cgroup, false);
    container->paused = false;
    return fault(ret_fault, FAULT_DEADLINE_EXCEEDED,
                 "container %s has a process that waits in the kernel and cannot be paused", container->id);
}

/* Runs again until the cgroup reports what was asked for. */
void op_pause_container(Call *call)
{
    const PauseContainerRequest *request = call->request->pause_container;
    Container *container = container_require(request->id, call);
    Fault error;

    if (container == NULL)
        return;
    if (freeze_defers(call) || !container_enter(container, call))
        return;
    if (!pause_check(container, &error)) {
        pause_end(container, &error);
    } else if (!cgroup_freeze(container->cgroup, request->paused)) {
        fault_errno(&error, "%s container %s by its cgroup", request->paused ? "pausing" : "resuming",
                    container->id);
        pause_end(container, &error);
    } else {
        container->paused = request->paused;
        if (cgroup_is_frozen(container->cgroup) == request->paused)
            pause_end(container, NULL);
        else if (clock_monotonic_ns() - call->since_ns < PAUSE_TIMEOUT_MS * INT64_C(1000000))
            call_retry(call, PAUSE_POLL_MS);
        else
            pause_end(container, pause_give_up(container, &error) ? NULL : &error);
    }
}
