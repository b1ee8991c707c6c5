/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on the CRI's resources: changed limits, and the limits of several containers together. */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* Return: old (NULL: none) with the fields that are set in update replaced, for free_unpacked(…, NULL). */
Runtime__V1__LinuxContainerResources *resources_merge(const Runtime__V1__LinuxContainerResources *present,
                                                      const Runtime__V1__LinuxContainerResources *update);

/* Return: the limit; 0: none. A value near 2^63, which the kubelet reads from a cgroup v1 without a limit,
 * counts as none. */
guint64 resources_memory_limit(const Runtime__V1__LinuxContainerResources *resources);

/* Limits of memory and processor time. */
typedef struct {
    gint64 memory_bytes; /* 0: no limit */
    gint64 cpu_quota_us; /* of each RESOURCES_CPU_PERIOD_US; 0: no limit */
    guint n_without_cpu; /* containers whose processor time is not limited */
    guint n_without_memory;
} Limits;

enum { RESOURCES_CPU_PERIOD_US = 100000 };

Limits limits_of(const Runtime__V1__LinuxContainerResources *resources);
/* Adds the limits of a container; sums saturate. */
void limits_add(Limits *sum, const Runtime__V1__LinuxContainerResources *container);
