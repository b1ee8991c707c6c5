/* Pods and containers as the CRI's status messages, built in an arena from what is known now. Internal to
 * this folder. Any thread; pod->lock is not held. */
#pragma once

#include "common/arena.h"
#include "sandbox/pods/pod.h"

Runtime__V1__PodSandboxStatus *pod_status_message(Pod *pod, Arena *arena);
/* Of all the pod's containers that CreateContainer has returned. */
Runtime__V1__ContainerStatus **pod_container_statuses(Pod *pod, Arena *arena, size_t *ret_n);
