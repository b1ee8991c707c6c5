/* SPDX-License-Identifier: Apache-2.0 */
/* Checks what a host pod asks for: nothing may change the node for other processes. */
#pragma once

#include "api.pb-c.h"
#include <glib.h>
#include <sys/types.h>

/* Return: the capabilities that a process of this node can have at most, one bit for each. */
guint64 node_capabilities(void);

/* Return: the lowest oom_score_adj that these capabilities allow: -1000 with CAP_SYS_RESOURCE, else the lower
 * one of the daemon's own and of the pod's agent. */
int node_least_oom_score_adj(guint64 capabilities, pid_t agent);

/* Checks the request. Errors: INVALID_ARGUMENT with the field's name. */
gboolean host_request_check(const Runtime__V1__PodSandboxConfig *config, GError **error);
