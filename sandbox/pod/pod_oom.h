/* SPDX-License-Identifier: Apache-2.0 */
/* How the kernel's OOM killer treats a pod's VM on the node (common/children.def).
 *
 * A VM holds the memory of all containers of its pod, and all of them end with it. Its score is that of
 * linux.resources of the sandbox where the client gives one, which the kubelet does not; else the lowest of
 * its containers that have not ended, so that the VM is protected as its best protected container would be
 * without it; else 0. It is never as low as the daemon's. Threads: any.
 */
#pragma once

#include "sandbox/pods/pod.h"

/* Return: the score of the pod's processes, POD_OOM_SCORE_LEAST to 1000. */
int pod_oom_score(Pod *pod);
#define POD_OOM_SCORE_LEAST (-998)

/* Gives QEMU and virtiofsd of a VM pod the score that the pod has now. */
void pod_oom_follow(Pod *pod);
