/* The program that runs containers, and what every use of it has in common. */
#pragma once

#define CRUN_PATH "/usr/bin/crun"
#define CRUN_CGROUPS "--cgroup-manager=cgroupfs"

/* What to execute for CRUN_PATH: a copy of it in sealed memory. Lest a container overwrite it through
 * /proc/PID/exe, crun otherwise makes itself such a safe copy in each of its runs and starts anew from that:
 * half of what `crun start` takes. */
const char *crun_program(void);
