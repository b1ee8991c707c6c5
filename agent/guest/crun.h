/* SPDX-License-Identifier: Apache-2.0 */
/* The program that runs containers, and what all its uses have in common. */
#pragma once

#include <stdbool.h>

#include "agent/guest/paths.h"

#define CRUN_PATH "/usr/bin/crun"
#define CRUN_CGROUPS "--cgroup-manager=cgroupfs"
#define CRUN_STATE_DIR RUN_DIR "/crun" /* crun has a directory for each container there */
extern const char crun_root[];         /* the option that tells crun of it */

/* Return: the path to execute for CRUN_PATH, a copy of the program in sealed memory. Without it, crun makes
 * such a copy in each of its runs and executes that, so that a container cannot overwrite crun through
 * /proc/PID/exe; this takes half the time of `crun start`. */
const char *crun_program(void);

/* What `crun start` and `crun delete` do with a container that has no hooks, without running crun, which
 * takes longer than all of it. The daemon writes no hooks into a configuration, and refuses CDI devices that
 * have some. */

/* Lets the first process of a created container, which waits for it, execute the container's program.
 * Return: false when that process does not wait where it is expected; nothing has been done then, and the
 * caller runs crun, which does it or reports why not. */
bool crun_release(const char *id);
/* Removes the cgroup of a container whose processes have all ended, and crun's record of it. cgroup: its
 * directory; may be empty. Return: false when the cgroup cannot be removed, or is not the container's alone;
 * the record is still there then, and the caller runs crun. */
bool crun_forget(const char *id, const char *cgroup);
