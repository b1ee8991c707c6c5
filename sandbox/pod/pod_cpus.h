/* SPDX-License-Identifier: Apache-2.0 */
/* The CPUs and memory nodes of the node that a pod's VM may use.
 *
 * The CRI's cpuset_cpus and cpuset_mems name those of the node; the kubelet sends them under the policies
 * "static" of its CPU and memory managers. A guest has others, so the VM as a whole is limited: to what its
 * containers have together. A container without a set may use all, and so may its pod then.
 */
#pragma once

#include "sandbox/pod/pod_resources.h"

/* Limits the VM to what its containers that have not ended may use, or will when change (NULL: none) has been
 * made. A pod without a cgroup of the client's is not limited, which the log says. Called with pod->vm_job
 * held. field: named by the error for a text that is no list (INVALID_ARGUMENT). */
gboolean pod_cpus_follow_in_job(Pod *pod, const PodChange *change, const char *field, GError **error);
