/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a program of the guest. */
#pragma once

#include <spawn.h>
#include <sys/types.h>

/* posix_spawn(3) for a child that gets nothing of the agent's treatment of signals: none is blocked, and
 * SIGPIPE ends it. Return: an errno, or 0. */
int spawn_clean(pid_t *ret_pid, const char *program, const posix_spawn_file_actions_t *actions,
                char *const *argv, char *const *environment);
