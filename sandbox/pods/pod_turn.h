/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's share of the workers that all pods use, so that a pod whose guest does not do what it is asked to
 * cannot hold all of them. A call takes a turn before it waits for the guest, and gives it back at its end.
 *
 * StopPodSandbox and RemovePodSandbox need no turn, because they are what ends such a pod.
 *
 * Threads: any.
 */
#pragma once

#include "sandbox/pods/pod.h"

typedef struct PodTurn PodTurn;

/* Return: a turn, to be freed; NULL with RESOURCE_EXHAUSTED when half of the workers of that kind serve the
 * pod already. */
PodTurn *pod_turn_take(Pod *pod, PodTurnKind kind, GError **error);
void pod_turn_free(PodTurn *turn); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PodTurn, pod_turn_free)
