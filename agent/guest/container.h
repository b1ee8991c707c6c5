/* SPDX-License-Identifier: Apache-2.0 */
/* Containers: their table, and the operations on them, each of which runs crun. One operation at a time runs
 * on a container; the others wait in their order.
 *
 * The files: container.c has the table and the queue of operations, container_create.c CreateContainer and
 * StartContainer, container_end.c the end of a container, Signal and DeleteContainer; exec.c has Exec,
 * freeze.c what happens to all containers when the guest is saved and restored.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/call.h"
#include "agent/guest/measure.h"
#include "agent/guest/process.h"
#include "agent/guest/rootfs.h"
#include "agent/guest/user.h"

enum {
    CONTAINERS_MAX = 256,
    WAITING_CALLS_MAX = 64,
    DELETE_KILL_MS = 2000, /* how long DeleteContainer waits for the processes that it killed */
};

typedef enum {
    CONTAINER_CREATING,
    CONTAINER_CREATED,
    CONTAINER_RUNNING,
    CONTAINER_EXITED,
} ContainerState;

typedef struct Container {
    struct Container *next;
    char id[ID_MAX + 1];
    ContainerState state;
    int64_t started_at_ns; /* 0: not started yet */
    bool with_input;
    Call *active;          /* the operation that runs; NULL: none */
    Call *waiting, **last; /* the operations that wait, and where the next one goes */
    unsigned n_waiting;
    bool killing; /* active is a DeleteContainer that waits for the end of the first process */
    bool paused;  /* by PauseContainer */
    bool ending;  /* the first process has ended; the others are being killed */
    bool held;    /* restored and frozen; StartContainer lets it go on (freeze.c) */
    int64_t ending_since_ns;
    Timer end_wait;
    Process *process; /* the first process */
    Rootfs rootfs;
    Fault *start_failure; /* why `crun create` failed: StartContainer reports it; NULL: it did not fail */
    Identity *identity;   /* for the response of CreateContainer; NULL afterwards */
    int console_fd;       /* while crun creates the container: where crun sends the terminal; -1: nowhere */
    int oom_score_adj;
    char cgroup[512];    /* the directory of its cgroup; empty: not known yet */
    Measure writable;    /* the size of its writable layer */
    uint64_t guest_mark; /* of the commands in the guest itself that use its programs (in_guest.h); 0: there
                            were none */
    Timer read_ahead;    /* runs once CreateContainer has been answered */
} Container;

Container *container_find(const char *id);
/* Finds the container that the call is about. Return: NULL when there is none; the call has failed then. */
Container *container_require(const char *id, Call *call);
/* Return: the container after this one; of NULL, the first; NULL at the end. */
Container *container_next(const Container *container);
/* Starts an operation on the container. Return: true when it may go on; the caller then calls
 * container_leave() after the reply. False when another operation runs: the call waits and is dispatched
 * again later, or has failed. */
bool container_enter(Container *container, Call *call);
void container_leave(Container *container);
/* Fills two arrays of CONTAINERS_MAX. Return: the number of reports. */
size_t containers_report(ContainerReport *ret_reports, ContainerReport **ret_pointers);

/* Return: the number of OOM kills that the container's cgroup has counted. */
int64_t container_oom_kills(const Container *container);

/* For the files of this module (container.c, container_create.c, container_end.c) alone. */

/* Adds a container in the state CONTAINER_CREATING. Return: NULL when out of memory. */
Container *container_new(const char *id);
/* Frees the container and its processes; its directory is removed in the background. Calls that wait for the
 * container are dispatched again and find it gone. */
void container_free(Container *container);
size_t containers_count(void);
/* Process.exited of a container's first process; data: the Container. */
void container_exited(void *data, Process *process);
