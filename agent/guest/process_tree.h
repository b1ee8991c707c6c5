/* SPDX-License-Identifier: Apache-2.0 */
/* A process with all that it has started: the processes that carry its mark, those of its session, and those
 * that descend from one of them. A process that has made a session of its own and lost its parent still has
 * the mark.
 *
 * The mark is the soft limit RLIMIT_RTTIME. Children inherit it, the agent can read it of any process, and at
 * the size that it has here it limits nothing. A process that sets this limit itself loses the mark. A cgroup
 * below the container's would hold the processes as well, but they would look there for the container's
 * limits, as a Java VM does, and find none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Return: a mark that no other process of this agent has. */
uint64_t process_tree_new_mark(void);
/* Gives the calling process the mark, for the children that it starts now. 0: takes the mark away. */
void process_tree_carry(uint64_t mark);

/* Sends the signal to the process, which must not have been reaped, and to those of its tree that are in the
 * cgroup or below it. pid 0: the process has been reaped, and only those with the mark and their descendants
 * are left. mark 0: there is none. KILL is repeated until none is left or PROCESS_TREE_SWEEPS are over,
 * because a process may fork meanwhile. Return: false with errno when the process itself could not be
 * signalled; one that has ended is no error. */
bool process_tree_signal(const char *cgroup, pid_t pid, uint64_t mark, int signal_number);

enum { PROCESS_TREE_SWEEPS = 20 };
