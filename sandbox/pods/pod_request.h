/* SPDX-License-Identifier: Apache-2.0 */
/* What a RunPodSandbox request asks for, parsed once. */
#pragma once

#include "sandbox/pods/handler.h"
#include "sandbox/pods/vm_size.h"

typedef struct {
    const Runtime__V1__PodSandboxConfig *config; /* borrowed from the request */
    const Handler *handler;                      /* borrowed from the table of handlers */
    HandlerSettings settings;                    /* the handler's, as the pod's annotations change them */
    VmSize size;                                 /* all 0 for a host pod */
} PodRequest;

static inline void pod_request_clear(PodRequest *request)
{
    handler_settings_clear(&request->settings);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PodRequest, pod_request_clear)
