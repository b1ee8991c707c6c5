/* SPDX-License-Identifier: Apache-2.0 */
/* Version 1 of cgroups (https://docs.kernel.org/admin-guide/cgroup-v1/), which a node may have; a guest never
 * has it. A container is identified by its directory in the hierarchy of the memory controller; crun makes a
 * directory of the same name in all the others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/guest/messages.h"

/* Finds the directory in the text of /proc/PID/cgroup. Return: false when the text names only the root
 * cgroup. */
bool cgroup_v1_parse(const char *text, const char *root, char *ret_directory, size_t room);
bool cgroup_v1_is(const char *directory);
/* Sets those fields of usage that version 1 has counters for. The caller has initialised usage. */
void cgroup_v1_read(const char *directory, CgroupUsage *usage);
int64_t cgroup_v1_oom_kills(const char *directory);
/* Sends KILL repeatedly until no process is left that could fork. Return: false when there is no such
 * directory. */
bool cgroup_v1_kill(const char *directory);
