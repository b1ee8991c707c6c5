/* SPDX-License-Identifier: Apache-2.0 */
/* Resizes a pod's VM while it runs (pods/vm_size.h). Any thread. */
#pragma once

#include "sandbox/pod/pod_resources.h"
#include "sandbox/pods/resources.h"

/* After the boot, with the size that all guests of the handler boot with: plugs the rest of the planned
 * size. */
gboolean pod_vm_grow_to_plan(Pod *pod, const Deadline *deadline, GError **error);

/* Return: what the pod and its containers together may use. The kubelet adds up the limits of those
 * containers that have one; the sum is the pod's limit only when all have one. *ret_whole: that limit; 0
 * where the pod as a whole is not limited. */
Limits pod_vm_limits(Pod *pod, const PodChange *change, Limits *ret_whole);

/* Resizes the VM to what the pod and its containers may use, or will when change (NULL: none) has been made.
 * field: named by an error about a limit that is too large ("linux"). RESOURCE_EXHAUSTED for a size that the
 * VM can never have, UNAVAILABLE for a guest that does not cooperate; the VM then has its old size, or one
 * as near to it as the guest allows. */
gboolean pod_vm_fit(Pod *pod, const PodChange *change, const char *field, gboolean may_shrink,
                    const Deadline *deadline, GError **error);
