/* Version 1 of cgroups, which nodes may have (a guest never has):
 * https://docs.kernel.org/admin-guide/cgroup-v1/ . A container is known by its directory in the hierarchy of
 * the memory controller; crun makes one of the same name in all the others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/guest/messages.h"

/* From the text of /proc/PID/cgroup; false when it names none but the root. */
bool cgroup_v1_parse(const char *text, const char *root, char *ret_directory, size_t room);
bool cgroup_v1_is(const char *directory);
/* What of the usage version 1 counts; usage is initialised. */
void cgroup_v1_read(const char *directory, CgroupUsage *usage);
int64_t cgroup_v1_oom_kills(const char *directory);
/* KILL, again and again until nobody is left who could fork; false when there was no such directory. */
bool cgroup_v1_kill(const char *directory);
