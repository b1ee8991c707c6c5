/* Containers: create, start, signal, delete; each through crun, one operation at a time per container, the
 * others waiting in their order. Exec is in exec.c.
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
    DELETE_KILL_MS = 2000, /* how long DeleteContainer waits for what it killed */
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
    int64_t started_at_ns; /* 0: not yet */
    bool with_input;
    Call *active;          /* the operation that runs */
    Call *waiting, **last; /* those that come after it */
    unsigned n_waiting;
    bool killing;     /* active is a DeleteContainer that waits for the first process to end */
    Process *process; /* the first process */
    Rootfs rootfs;
    Identity *identity; /* what CreateContainer answers; NULL afterwards */
    int console_fd;     /* while crun runs: where it sends the terminal */
    int oom_score_adj;
    char cgroup[512]; /* its directory; empty until it is known */
    Measure writable; /* how much its writable layer takes */
} Container;

Container *container_find(const char *id);
/* The one after it; NULL: the first. */
Container *container_next(const Container *container);
/* The container's turn for a call: false when it waits for its own, and will be dispatched again. Who has
 * entered leaves, after the reply. */
bool container_enter(Container *container, Call *call);
void container_leave(Container *container);
/* Into two arrays of CONTAINERS_MAX; how many. */
size_t containers_report(ContainerReport *ret_reports, ContainerReport **ret_pointers);

/* OOM kills that the container's cgroup has counted. */
int64_t container_oom_kills(const Container *container);
