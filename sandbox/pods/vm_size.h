/* SPDX-License-Identifier: Apache-2.0 */
/* The size of a pod's VM: from the limits of the pod, and the bounds of its handler.
 *
 * The VM has the pod's memory limit and, in addition, what its kernel and agent take, so that the containers
 * can use all of their limit. It is never smaller than the handler's size: memory that is not touched costs
 * the node nothing, and VMs of one size can come from one template. A CPU limit is a ceiling: one above the
 * node's CPUs allows all of them.
 */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* The guest boots with the smallest size of its handler, so that all guests of a handler boot alike. The
 * rest of the pod's size is plugged while it runs, and can be unplugged again. */
typedef struct {
    guint boot_vcpus;
    guint vcpus;               /* the pod's now */
    guint max_vcpus;           /* the most without a restart */
    guint64 boot_memory_bytes; /* whole MiB */
    guint64 memory_bytes;      /* more by whole DOMAIN_MEMORY_BLOCKs */
    guint64 max_memory_bytes;
} VmSize;

/* The smallest and the largest size by the pod's handler and annotations; 0: no maximum. */
typedef struct {
    guint vcpus;
    guint max_vcpus;
    guint64 memory_bytes;
    guint64 max_memory_bytes;
} VmBounds;

typedef struct {
    guint cpus;
    guint64 memory_bytes;
    gboolean plugs; /* processors and memory can be plugged into guests of its architecture */
} NodeCapacity;

/* Return: what this node has. */
NodeCapacity node_capacity(void);

/* Computes the VM's size for a pod with these limits (NULL: none). INVALID_ARGUMENT for invalid limits and
 * sizes that cannot boot, RESOURCE_EXHAUSTED for more than the handler or the node has; both name the field,
 * of which `field` is the path to resources ("config.linux.resources"). */
gboolean vm_size_compute(const Runtime__V1__LinuxContainerResources *resources, const char *field,
                         const VmBounds *bounds, const NodeCapacity *node, VmSize *ret_size, GError **error);

/* Checks the limits without computing a size. */
gboolean vm_limits_check(const Runtime__V1__LinuxContainerResources *resources, const char *field,
                         GError **error);

/* Return: the most that a guest's kernel and agent take of its memory (docs/performance.md). */
guint64 vm_guest_overhead(guint64 memory_bytes);
