/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and kills cgroups of version 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html), and of version 1
 * on nodes that have it (cgroup_v1.h). */
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

/* Reads the files in directory; fields of files that do not exist are 0. ret_reading must not be moved,
 * because its usage points into it. */
void cgroup_read(const char *directory, CgroupReading *ret_reading);

/* Finds the directory of a process's cgroup. Return: false when the process is in the root cgroup only. */
bool cgroup_of_process(int pid, char *ret_directory, size_t room);
/* Sends KILL to all processes in the cgroup. Return: false when there is no such directory. */
bool cgroup_kill(const char *directory);
/* Stops all processes in the cgroup and below it, or lets them go on; KILL ends them meanwhile. The kernel
 * does it soon. Return: false with errno, ENOTSUP for version 1. */
bool cgroup_freeze(const char *directory, bool frozen);
/* Return: whether all of them have stopped. */
bool cgroup_is_frozen(const char *directory);
/* Return: true when no process is in the cgroup or below it, or there is no such cgroup. */
bool cgroup_is_empty(const char *directory);
int64_t cgroup_oom_kills(const char *directory);
/* Removes a cgroup of version 2, and those below it, in which no process is. Return: false with errno when
 * something is left, and for version 1. */
bool cgroup_remove(const char *directory);

/* A container may make cgroups below its own, as one with systemd or another container runtime does, and its
 * processes move there: these functions go through all of them. */

/* Calls take() with the pid of each process, until it returns false. Return: false when there is no such
 * cgroup. */
bool cgroup_each_process(const char *directory, bool (*take)(int pid, void *data), void *data);
/* Stores the pids of at most max processes in ret_pids. Return: their number. */
size_t cgroup_processes(const char *directory, int *ret_pids, size_t max);
