/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/container.h"

#include <stdlib.h>
#include <string.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/paths.h"
#include "agent/guest/tree.h"

static Container *containers;

Container *container_find(const char *id)
{
    for (Container *container = containers; container != NULL; container = container->next)
        if (strcmp(container->id, id) == 0)
            return container;
    return NULL;
}

Container *container_require(const char *id, Call *call)
{
    Container *container = container_find(id);
    Fault error;

    if (container == NULL) {
        fault(&error, FAULT_NOT_FOUND, "the pod has no container %s", id);
        call_fail(call, &error);
    }
    return container;
}

Container *container_next(const Container *container)
{
    return container != NULL ? container->next : containers;
}

size_t containers_count(void)
{
    size_t n = 0;
    for (Container *container = containers; container != NULL; container = container->next)
        n++;
    return n;
}

size_t containers_report(ContainerReport *ret_reports, ContainerReport **ret_pointers)
{
    size_t n = 0;
    for (Container *container = containers; container != NULL && n < CONTAINERS_MAX;
         container = container->next) {
        if (container->state == CONTAINER_CREATING)
            continue;
        ContainerReport *report = &ret_reports[n];
        crivirt__agent__v1__container_report__init(report);
        report->id = container->id;
        report->state =
            container->state == CONTAINER_CREATED   ? CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__CREATED
            : container->state == CONTAINER_RUNNING ? CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__RUNNING
                                                    : CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__EXITED;
        if (container->state == CONTAINER_EXITED) {
            report->exit_code = container->process->exit_code;
            report->finished_at_ns = container->process->finished_at_ns;
            report->oom_killed = container->process->oom_killed;
        }
        report->input_received = container->process->input_received;
        report->paused = container->paused && container->state == CONTAINER_RUNNING;
        ret_pointers[n++] = report;
    }
    return n;
}

int64_t container_oom_kills(const Container *container)
{
    return cgroup_oom_kills(container->cgroup);
}

Container *container_new(const char *id)
{
    Container *container = calloc(1, sizeof *container);
    if (container == NULL)
        return NULL;
    strcpy(container->id, id); /* NOLINT: a valid id */
    container->console_fd = -1;
    container->last = &container->waiting;
    container->next = containers;
    containers = container;
    return container;
}

void container_free(Container *container)
{
    Container **place = &containers;
    while (*place != container)
        place = &(*place)->next;
    *place = container->next;
    timer_stop(&container->end_wait);
    timer_stop(&container->read_ahead);
    process_forget_container(container->id);
    tree_remove_later(CONTAINERS_DIR, container->id);
    Call *waiting = container->waiting;
    free(container->identity);
    free(container->start_failure);
    free(container);
    while (waiting != NULL) { /* their handlers find no container */
        Call *next = waiting->next;
        call_dispatch(waiting);
        waiting = next;
    }
}

/* ---- one operation at a time ---- */

bool container_enter(Container *container, Call *call)
{
    if (container->active == NULL || container->active == call) {
        container->active = call;
        return true;
    }
    if (container->n_waiting >= WAITING_CALLS_MAX) {
        Fault error;
        fault(&error, FAULT_RESOURCE_EXHAUSTED, "container %s has %d waiting operations already",
              container->id, WAITING_CALLS_MAX);
        call_fail(call, &error);
        return false;
    }
    call->next = NULL;
    *container->last = call;
    container->last = &call->next;
    container->n_waiting++;
    return false;
}

/* The next call may free the container, so it is dispatched last. */
void container_leave(Container *container)
{
    Call *next = container->waiting;
    container->active = NULL;
    if (next == NULL)
        return;
    container->waiting = next->next;
    if (container->waiting == NULL)
        container->last = &container->waiting;
    container->n_waiting--;
    call_dispatch(next); /* it enters and leaves the container in its turn */
}
