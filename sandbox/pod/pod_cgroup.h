/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's cgroup on the node, where the client gave one: the cost of the pod's VM counts there.
 *
 * All functions succeed and do nothing for a pod without a cgroup.
 */
#pragma once

#include "sandbox/pods/pod.h"

gboolean pod_cgroup_join(const Pod *pod, pid_t pid, GError **error);
/* Kills the processes that are left in the cgroup: a file server may outlive the VM and the daemon. */
gboolean pod_cgroup_leave(const Pod *pod, GError **error);
/* Limits the processor time in each RESOURCES_CPU_PERIOD_US; 0: no limit. */
gboolean pod_cgroup_limit_cpu(const Pod *pod, gint64 quota_us, GError **error);
/* Called after the VM has joined. Where the cgroup's limit is less than the memory that the VM may come to
 * use, the kernel would kill the VM. The VM's memory then counts beside the cgroup, and a warning reports
 * it. */
gboolean pod_cgroup_make_room(const Pod *pod, guint64 vm_bytes, GError **error);
/* Return: whether the kernel has killed a process of the pod's VM for lack of memory. Does not wait. */
gboolean pod_cgroup_lacked_memory(const Pod *pod);
