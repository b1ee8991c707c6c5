/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's cgroup on the node, where the client gave one: what the pod's VM costs counts there.
 *
 * All functions succeed and do nothing for a pod without a cgroup. */
#pragma once

#include "sandbox/pods/pod.h"

gboolean pod_cgroup_join(const Pod *pod, pid_t pid, GError **error);
/* Kills what is left of the VM there: a file server may outlive it and its daemon. */
gboolean pod_cgroup_leave(const Pod *pod, GError **error);
/* Limits the processor time in each RESOURCES_CPU_PERIOD_US; 0: no limit. */
gboolean pod_cgroup_limit_cpu(const Pod *pod, gint64 quota_us, GError **error);
/* Once the VM has joined: a cgroup whose limit is less than the VM's memory can become would have the VM
 * killed, so the VM's memory then counts beside that cgroup, and a warning reports it. */
gboolean pod_cgroup_make_room(const Pod *pod, guint64 vm_bytes, GError **error);
