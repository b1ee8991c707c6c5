/* SPDX-License-Identifier: Apache-2.0 */
/* Setup of a pod: gives the pod's agent, in the guest or on the node, what the pod is. */
#pragma once

#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/pods/pod.h"

/* Sends Setup to the pod's agent and waits until it is done, for at most 30 s. network is what CNI gave to
 * the pod; NULL: the pod uses the network of the node. Return: FALSE with the agent's error or
 * DEADLINE_EXCEEDED. The caller starts or ends the pod. */
gboolean pod_setup(Pod *pod, const CniResult *network, const Deadline *deadline, GError **error);
/* The same for a guest that continues from a checkpoint: sends Restore. */
gboolean pod_setup_restored(Pod *pod, const CniResult *network, const Deadline *deadline, GError **error);
/* Deletes the containers of that guest that the checkpoint does not name, once it has its volumes: their
 * processes may wait for these. */
gboolean pod_delete_unsaved(Pod *pod, const Checkpoint *checkpoint, const Deadline *deadline, GError **error);
