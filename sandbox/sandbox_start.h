/* SPDX-License-Identifier: Apache-2.0 */
/* What RunPodSandbox and RestorePod have in common (sandbox_run.c). */
#pragma once

#include "sandbox/pods/pod.h"
#include "sandbox/sandbox.h"

/* Checks the request and parses it into the value that the start is made from, for pod_request_clear(). */
gboolean sandbox_request_parse(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                               PodRequest *ret_parsed, GError **error);
/* Starts a pod that must not exist. A failure leaves none. *ret_pod is READY, and referenced. Errors:
 * ALREADY_EXISTS for a pod of that name, else those of the start. */
gboolean sandbox_start_new(SandboxManager *manager, const PodRequest *request, const Deadline *deadline,
                           Pod **ret_pod, GError **error);
