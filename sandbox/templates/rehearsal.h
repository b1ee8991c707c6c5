/* SPDX-License-Identifier: Apache-2.0 */
/* A container that an unassigned guest creates, starts, executes a command in and deletes, before it is given
 * to a pod. The first container of the pod then starts as quickly as a second one: the server of crun runs
 * (agent/guest/crun_server.h), the kernel has its memory for cgroups, namespaces and mounts, and an emulated
 * guest has its code translated.
 *
 * The container has no image. Its program is the guest's agent, which waits for its end there. Nothing of
 * it is left in the guest but process ids that have been used.
 */
#pragma once

#include "sandbox/agent/agent_connection.h"

/* For a guest that has been warmed up. Return: TRUE also when the agent is an older one that rehearses
 * nothing, and, after a warning in the log, when the container cannot be created, which leaves nothing of it
 * in the guest. Threads: any, one at a time for a guest. */
gboolean guest_rehearse(AgentConnection *agent, const Deadline *deadline, GError **error);
