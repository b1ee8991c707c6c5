/* What a cgroup says of itself: version 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html), and version 1
 * where a node has that (cgroup_v1.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/guest/messages.h"

/* A CgroupUsage with what it points to. */
typedef struct {
    CgroupUsage usage;
    Pressure pressures[3];
    PressureLine lines[6];
} CgroupReading;

/* Reads the files in directory; those that are missing leave their fields 0. ret_reading stays where it is:
 * its usage points into it. */
void cgroup_read(const char *directory, CgroupReading *ret_reading);

/* The directory of a process's cgroup; false when it is in none but the root. */
bool cgroup_of_process(int pid, char *ret_directory, size_t room);
/* KILL to everything in it; false when there is no such directory. */
bool cgroup_kill(const char *directory);
int64_t cgroup_oom_kills(const char *directory);

/* The processes in it, at most max of them into ret_pids; how many. */
size_t cgroup_processes(const char *directory, int *ret_pids, size_t max);
