/* What a cgroup (v2) says of itself: https://docs.kernel.org/admin-guide/cgroup-v2.html */
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

/* The processes in it, at most max of them into ret_pids; how many. */
size_t cgroup_processes(const char *directory, int *ret_pids, size_t max);
