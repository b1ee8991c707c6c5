/* SPDX-License-Identifier: Apache-2.0 */
/* The program that runs containers, and what all its uses have in common. */
#pragma once

#define CRUN_PATH "/usr/bin/crun"
#define CRUN_CGROUPS "--cgroup-manager=cgroupfs"

/* Return: the path to execute for CRUN_PATH, a copy of the program in sealed memory. Without it, crun makes
 * such a copy in each of its runs and executes that, so that a container cannot overwrite crun through
 * /proc/PID/exe; this takes half the time of `crun start`. */
const char *crun_program(void);
