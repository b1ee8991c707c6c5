/* SPDX-License-Identifier: Apache-2.0 */
/* Pods and containers as the CRI's status messages, built in an arena from recorded state. Any thread;
 * pod->lock is not held. */
#pragma once

#include "common/arena.h"
#include "sandbox/pods/pod.h"

Runtime__V1__PodSandboxStatus *pod_status_message(Pod *pod, Arena *arena);
/* Return: the statuses of all containers of the pod that CreateContainer has returned. */
Runtime__V1__ContainerStatus **pod_container_statuses(Pod *pod, Arena *arena, size_t *ret_n);
