/* SPDX-License-Identifier: Apache-2.0 */
/* A crun that is loaded once and forks for each run (agent/guest/crun_preload.c). It is started for the first
 * run. Where the guest has no such library, as in a host pod, or the server has ended, crun is executed
 * instead.
 *
 * All runs of one guest have the same addresses, as forks have; those of another guest have others, because a
 * server is started after the guest's random numbers have become its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* argv: of crun; fds: three for the run; NULL or -1: /dev/null. oom_score_adj, mark: see job.h. *ret_pid: a
 * child of the agent. Return: false when there is no server for this run, and nothing has been started. A
 * server that does not answer is an error: *ret_error is an errno then, else 0. */
bool crun_server_run(char *const *argv, const int *fds, int oom_score_adj, uint64_t mark, pid_t *ret_pid,
                     int *ret_error);
