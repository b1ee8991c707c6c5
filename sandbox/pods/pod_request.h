/* SPDX-License-Identifier: Apache-2.0 */
/* What a RunPodSandbox or RestorePod request asks for, parsed once. */
#pragma once

#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/pods/handler.h"
#include "sandbox/pods/vm_size.h"

typedef struct {
    const Runtime__V1__PodSandboxConfig *config; /* borrowed from the request */
    Settings *node_settings;                     /* in force when the request came; referenced */
    const Handler *handler;                      /* borrowed from node_settings */
    HandlerSettings settings;                    /* the handler's, as the pod's annotations change them */
    VmSize size;                                 /* all 0 for a host pod */
    const Checkpoint *checkpoint;                /* its guest continues from there; NULL: a new guest */
    const GArray *blocks; /* BlockAttachment: what the checkpoint's guest has; borrowed */
} PodRequest;

static inline void pod_request_clear(PodRequest *request)
{
    handler_settings_clear(&request->settings);
    g_clear_pointer(&request->node_settings, settings_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PodRequest, pod_request_clear)
