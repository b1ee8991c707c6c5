/* How large a pod's virtual machine is: from what the pod may use, and what a machine of its handler may be.
 *
 * The machine has the pod's memory limit and, beside it, what its own kernel and agent take, so that the
 * containers can really use up to their limit. It is never smaller than the handler's size: memory that
 * nobody touches costs the node nothing, and machines of one shape can come from one template. A CPU limit is
 * a ceiling, not a claim: one above the node's CPUs is as good as all of them.
 *
 * Pure arithmetic; only node_capacity() asks the node.
 */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* The guest boots with the least that its handler gives, so that all machines of a handler boot alike; what
 * its pod has beyond that is plugged into it, and can be taken out again. */
typedef struct {
    guint boot_vcpus;
    guint vcpus;               /* that the pod is to have now */
    guint max_vcpus;           /* that it can come to have without a restart */
    guint64 boot_memory_bytes; /* whole MiB */
    guint64 memory_bytes;      /* more by whole DOMAIN_MEMORY_BLOCKs */
    guint64 max_memory_bytes;
} VmSize;

/* The least and the most that the pod's handler (and its annotations) say; no maximum is 0. */
typedef struct {
    guint vcpus;
    guint max_vcpus;
    guint64 memory_bytes;
    guint64 max_memory_bytes;
} VmBounds;

typedef struct {
    guint cpus;
    guint64 memory_bytes;
    gboolean plugs; /* guests of its architecture take processors and memory while they run */
} NodeCapacity;

/* What this node has. */
NodeCapacity node_capacity(void);

/* The machine of a pod with these limits (NULL: none). INVALID_ARGUMENT for limits that make no sense and
 * sizes that cannot boot, RESOURCE_EXHAUSTED for more than the handler or the node has; both name the field,
 * of which `field` is the path to resources ("config.linux.resources"). */
gboolean vm_size_compute(const Runtime__V1__LinuxContainerResources *resources, const char *field,
                         const VmBounds *bounds, const NodeCapacity *node, VmSize *ret_shape, GError **error);

/* The checks of limits by themselves, without any machine. */
gboolean vm_limits_check(const Runtime__V1__LinuxContainerResources *resources, const char *field,
                         GError **error);

/* What a guest's own kernel and agent take of its memory, at most: docs/performance.md has the figures. */
guint64 vm_guest_overhead(guint64 memory_bytes);
