/* SPDX-License-Identifier: Apache-2.0 */
/* A pod that runs on the node itself. */
#pragma once

#include "sandbox/pods/container.h"

extern const PodPlatform host_pod_platform;

/* Return: the cgroup of a container, below each hierarchy's root, which the caller frees. */
char *host_pod_container_cgroup(const Container *container);
