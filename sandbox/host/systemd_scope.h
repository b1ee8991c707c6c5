/* SPDX-License-Identifier: Apache-2.0 */
/* Cgroups below a slice of systemd, which are its scopes.
 *
 * systemd owns the tree of a slice: whenever it changes a property of the slice (the kubelet's driver
 * "systemd" does so when it resizes a pod), it takes the controllers away from all children that it has no
 * record of, and with them their limits. A scope with Delegate=yes is such a record. Its cgroup belongs to
 * us, and keeps the controllers of the whole slice enabled. Specification:
 * https://systemd.io/CGROUP_DELEGATION/, org.freedesktop.systemd1(5).
 *
 * Threads: any. All functions wait for systemd, half a minute at most.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "common/cpu_list.h"

/* Return: TRUE where systemd manages the cgroups that are mounted at root (version 2). */
gboolean systemd_manages(const char *root);

/* Makes the transient scope below the slice ("-.slice": the root) with these processes. It ends with the last
 * of them. Errors: UNAVAILABLE when systemd does not answer; INTERNAL when it refuses. */
gboolean systemd_scope_start(const char *scope, const char *slice, const pid_t *pids, gsize n_pids,
                             GError **error);

/* Tells systemd the limit of a scope's CPU time in each period (quota_us 0: no limit), so that it keeps it.
 * Errors: as above. */
gboolean systemd_scope_limit_cpu(const char *scope, gint64 quota_us, gint64 period_us, GError **error);
/* … and its share of CPU time, as in cpu.weight. */
gboolean systemd_scope_weigh_cpu(const char *scope, guint64 weight, GError **error);
/* … and the CPUs and memory nodes that its processes may use; an empty set: all. */
gboolean systemd_scope_use_cpus(const char *scope, const CpuList *cpus, const CpuList *mems, GError **error);
