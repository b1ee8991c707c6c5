/* SPDX-License-Identifier: Apache-2.0 */
/* A process with all that it has started: the processes of its session, and those that descend from one of
 * them. A process that has left the session and whose parent has ended is not found. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Sends the signal to the process, which must not have been reaped, and to those of its tree that are in the
 * cgroup. KILL is repeated until none is left or PROCESS_TREE_SWEEPS are over, because a process may fork
 * meanwhile. Return: false with errno when the process itself could not be signalled; one that has ended is
 * no error. */
bool process_tree_signal(const char *cgroup, pid_t pid, int signal_number);

enum { PROCESS_TREE_SWEEPS = 20 };
