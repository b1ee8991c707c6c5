/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/freeze.h"

#include <errno.h>
#include <string.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/channel.h"
#include "agent/guest/setup.h"
#include "agent/guest/share_keep.h"

enum {
    REST_TIMEOUT_MS = 10 * 1000, /* for the processes to come to rest */
    LOOK_EVERY_MS = 2,
    DEFER_MS = 20,
};

static bool in_force;
static int64_t thawed_at_ns; /* the last Thaw */

bool freeze_is_in_force(void)
{
    return in_force;
}

bool freeze_defers(Call *call)
{
    if (call->deferred && call->connection != channel_connection()) {
        Fault error;

        fault(&error, FAULT_CANCELLED, "the daemon that asked is gone");
        call_fail(call, &error);
        return true;
    }
    if (!in_force)
        return false;
    call->deferred = true;
    call_retry(call, DEFER_MS);
    return true;
}

/* A restored container that was not started stays frozen. */
static bool has_running_processes(const Container *container)
{
    return container->cgroup[0] != '\0' && !container->held &&
           (container->state == CONTAINER_CREATED || container->state == CONTAINER_RUNNING);
}

static void thaw_all(void)
{
    for (Container *container = container_next(NULL); container != NULL; container = container->next)
        if (has_running_processes(container) && !container->paused &&
            !cgroup_freeze(container->cgroup, false))
            complain("thawing container %s: %s", container->id, strerror(errno));
    in_force = false;
}

/* Return: the container whose processes cannot be frozen; NULL: those of all are frozen, or will be soon. */
static const Container *freeze_all(void)
{
    for (Container *container = container_next(NULL); container != NULL; container = container->next)
        if (has_running_processes(container) && !cgroup_freeze(container->cgroup, true))
            return container;
    return NULL;
}

/* Return: a container that is not at rest: an operation on it is under way, or not all of its processes are
 * frozen; NULL: there is none. */
static const Container *find_restless(void)
{
    for (Container *container = container_next(NULL); container != NULL; container = container->next)
        if (container->active != NULL || container->ending ||
            (has_running_processes(container) && !cgroup_is_frozen(container->cgroup)))
            return container;
    return NULL;
}

/* Whoever asked has given up, and has asked for the opposite, or is gone. */
static bool is_obsolete(const Call *call)
{
    return call->since_ns <= thawed_at_ns || call->connection != channel_connection();
}

static bool may_wait(const Call *call)
{
    return clock_monotonic_ns() - call->since_ns < REST_TIMEOUT_MS * INT64_C(1000000);
}

/* Operations that are under way end before anything is frozen, because they wait for processes. */
void op_freeze(Call *call)
{
    FreezeResponse result = CRIVIRT__AGENT__V1__FREEZE_RESPONSE__INIT;
    const Container *restless = NULL;
    Fault error;

    if (is_obsolete(call)) {
        fault(&error, FAULT_CANCELLED, "the containers are not to be frozen any more");
        if (in_force && call->since_ns > thawed_at_ns)
            thaw_all();
        call_fail(call, &error);
        return;
    }
    for (Container *container = container_next(NULL); container != NULL && !in_force;
         container = container->next)
        if (container->active != NULL || container->ending)
            restless = container;
    if (restless == NULL) {
        const Container *refused = freeze_all();

        in_force = true;
        if (refused != NULL) {
            fault_errno(&error, "freezing container %s", refused->id);
            thaw_all();
            call_fail(call, &error);
            return;
        }
        restless = find_restless();
    }
    if (restless == NULL) {
        if (!call->request->freeze->keep_share || share_keep(&error)) {
            reply_freeze(call, &result);
            return;
        }
        thaw_all();
        call_fail(call, &error);
    } else if (may_wait(call)) {
        call_retry(call, LOOK_EVERY_MS);
    } else {
        fault(&error, FAULT_UNAVAILABLE, "container %s does not come to rest within %d s", restless->id,
              REST_TIMEOUT_MS / 1000);
        thaw_all();
        call_fail(call, &error);
    }
}

void op_thaw(Call *call)
{
    ThawResponse result = CRIVIRT__AGENT__V1__THAW_RESPONSE__INIT;

    share_let_go(); /* before a process can wait for it */
    thaw_all();
    thawed_at_ns = clock_monotonic_ns();
    reply_thaw(call, &result);
}

void freeze_release(Container *container)
{
    container->held = false;
    if (!cgroup_freeze(container->cgroup, false))
        complain("thawing container %s: %s", container->id, strerror(errno));
    process_release(container->process);
}

static void hold_all(void)
{
    for (Container *container = container_next(NULL); container != NULL; container = container->next) {
        if (!has_running_processes(container))
            continue;
        container->held = true;
        container->paused = false;
        container->state = CONTAINER_CREATED;
        container->started_at_ns = 0;
        process_hold(container->process);
    }
}

void op_restore(Call *call)
{
    const SetupRequest *setup = call->request->restore->setup;
    RestoreResponse result = CRIVIRT__AGENT__V1__RESTORE_RESPONSE__INIT;
    Fault error;

    if (setup == NULL) {
        fault(&error, FAULT_INVALID_ARGUMENT, "the request to restore has no Setup request in it");
        call_fail(call, &error);
        return;
    }
    if (strcmp(setup->sandbox_id, setup_sandbox_id()) == 0) {
        reply_restore(call, &result);
        return;
    }
    if (!in_force) {
        fault(&error, FAULT_FAILED_PRECONDITION, "the guest was not frozen when its state was saved");
        call_fail(call, &error);
        return;
    }
    processes_hang_up();
    hold_all();
    if (!setup_again(setup, &error)) {
        call_fail(call, &error);
        return;
    }
    in_force = false;
    reply_restore(call, &result);
}
