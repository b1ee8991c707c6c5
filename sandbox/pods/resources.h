/* Arithmetic on the CRI's resources: limits that are changed, and limits of several containers together.
 * Internal to this folder. */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* What is set in update replaces what was (NULL: nothing). For free_unpacked(…, NULL). */
Runtime__V1__LinuxContainerResources *resources_merge(const Runtime__V1__LinuxContainerResources *present,
                                                      const Runtime__V1__LinuxContainerResources *update);

/* 0: none. So is what the kubelet reads from a cgroup of version 1 without a limit, nearly 2^63. */
guint64 resources_memory_limit(const Runtime__V1__LinuxContainerResources *resources);

/* Memory and processor time that are limited. */
typedef struct {
    gint64 memory_bytes; /* 0: no limit */
    gint64 cpu_quota_us; /* of each RESOURCES_CPU_PERIOD_US; 0: no limit */
    guint n_without_cpu; /* containers whose processor time is not limited */
    guint n_without_memory;
} Limits;

enum { RESOURCES_CPU_PERIOD_US = 100000 };

Limits limits_of(const Runtime__V1__LinuxContainerResources *resources);
/* Adds a container's; sums stay in range. */
void limits_add(Limits *sum, const Runtime__V1__LinuxContainerResources *container);
