/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's machine while it runs (machine_shape.h): how large it is, and making it larger or smaller. Internal
 * to this folder; any thread. */
#pragma once

#include "sandbox/pods/container.h"
#include "sandbox/pods/resources.h"

/* When the guest has booted, with what all guests of its handler boot with: gives it the rest. */
gboolean pod_vm_grow_to_plan(Pod *pod, const Deadline *deadline, GError **error);

/* What is about to change; members that are NULL do not. */
typedef struct PodChange {
    const Runtime__V1__LinuxContainerResources *pod_resources;
    const Container *container; /* its resources become: */
    const Runtime__V1__LinuxContainerResources *resources;
} PodChange;

/* What the pod and its containers together may use. The kubelet adds up the limits of those containers that
 * have one: that is the pod's limit only when all have. *ret_whole: that, 0 for what is not limited as a
 * whole. */
Limits pod_vm_limits(Pod *pod, const PodChange *change, Limits *ret_whole);

/* Makes the machine as large as what the pod and its containers may use, or will when change (NULL: nothing)
 * has been made; field is what an error names as too large ("linux"). RESOURCE_EXHAUSTED for what the machine
 * can never have, UNAVAILABLE for a guest that does not do its part; the machine is then as it was, or as
 * near to it as the guest can. */
gboolean pod_vm_fit(Pod *pod, const PodChange *change, const char *field, gboolean may_shrink,
                    const Deadline *deadline, GError **error);
