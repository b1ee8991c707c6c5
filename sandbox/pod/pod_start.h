/* SPDX-License-Identifier: Apache-2.0 */
/* How a pod's VM comes to run: it is described, created or taken from the pool, and restored from a template
 * or booted. The agent's Setup and the end of the VM are vm_pod.c's. */
#pragma once

#include "sandbox/pods/pod.h"
#include "sandbox/templates/template.h"

/* From nothing to the agent's Hello. The network namespace exists. What a failure leaves ends with the pod.
 */
gboolean pod_start_vm(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error);

/* PodPlatform's take_pooled. */
char *pod_start_take_pooled(SandboxManager *manager, const PodRequest *request, Template **ret_template);

/* Puts the end of the guest's console in front of an error of the guest. */
void pod_start_prefix_console(Pod *pod, GError **error);
