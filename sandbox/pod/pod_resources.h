/* SPDX-License-Identifier: Apache-2.0 */
/* What the containers of a pod may use, now or after a change. */
#pragma once

#include "sandbox/pods/container.h"

/* A change that is about to be made. A member that is NULL does not change. */
typedef struct PodChange {
    const Runtime__V1__LinuxContainerResources *pod_resources;
    const Container *container; /* the container whose limits become resources */
    const Runtime__V1__LinuxContainerResources *resources;
} PodChange;

/* Return: the resources (const Runtime__V1__LinuxContainerResources) of each container that has not ended, as
 * they are when change (NULL: none) has been made; those of a container without any are empty. They are
 * borrowed while pod->lock is held, with which this is called; the caller frees the array. */
GPtrArray *pod_container_resources_locked(Pod *pod, const PodChange *change);
