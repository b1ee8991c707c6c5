/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's cgroup on the node, where the client gave one: the cost of the pod's VM counts there.
 *
 * All functions succeed and do nothing for a pod without a cgroup.
 */
#pragma once

#include "common/cpu_list.h"
#include "sandbox/pods/pod.h"

/* Return: whether the client gave the pod a cgroup. */
gboolean pod_cgroup_is_given(const Pod *pod);
gboolean pod_cgroup_join(const Pod *pod, pid_t pid, GError **error);
/* Kills the processes that are left in the cgroup: a file server may outlive the VM and the daemon. */
gboolean pod_cgroup_leave(const Pod *pod, GError **error);
/* The VM has joined a new cgroup, which has no limits. */
void pod_cgroup_begin(Pod *pod);
/* Limits the processor time in each RESOURCES_CPU_PERIOD_US; 0: no limit. */
gboolean pod_cgroup_limit_cpu(Pod *pod, gint64 quota_us, GError **error);
/* Limits the pod to those CPUs and memory nodes of the node; an empty set: to those of the client's cgroup.
 */
gboolean pod_cgroup_use_cpus(Pod *pod, const CpuList *cpus, const CpuList *mems, GError **error);
/* Called after the VM has joined. Where the cgroup's limit is less than the memory that the VM may come to
 * use, the kernel would kill the VM. The VM's memory then counts beside the cgroup, and a warning reports
 * it. */
gboolean pod_cgroup_make_room(Pod *pod, guint64 vm_bytes, GError **error);
/* Return: the most processes that the client's cgroup allows the pod, which the kubelet sets as podPidsLimit.
 * The guest's processes do not count there, only QEMU's threads do. 0: no limit. */
guint64 pod_cgroup_pids_max(const Pod *pod);
/* Return: whether the kernel has killed a process of the pod's VM for lack of memory. Does not wait. */
gboolean pod_cgroup_lacked_memory(const Pod *pod);
