/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's share of the workers that all pods use, so that a pod whose guest does not do what it is asked to
 * cannot hold all of them. A call takes a turn before it waits for the guest, and gives it back at its end.
 *
 * StopPodSandbox and RemovePodSandbox need no turn, because they are what ends such a pod, also a hibernated
 * one.
 *
 * Threads: any.
 */
#pragma once

#include "sandbox/pods/pod.h"

typedef struct PodTurn PodTurn;

/* Waits until a hibernated pod is awake, and keeps it awake (pod_rest.h). Return: a turn, to be freed; NULL
 * with RESOURCE_EXHAUSTED when half of the workers of that kind serve the pod already, or with the reason why
 * the pod does not wake. POD_TURN_USE has no limit: it is for what has no worker, or few. */
PodTurn *pod_turn_take(Pod *pod, PodTurnKind kind, const Deadline *deadline, GError **error);
/* The same for work that needs no guest: a hibernated pod is not woken. */
PodTurn *pod_turn_take_asleep(Pod *pod, PodTurnKind kind, GError **error);
void pod_turn_free(PodTurn *turn); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PodTurn, pod_turn_free)
