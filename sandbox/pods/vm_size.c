/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/vm_size.h"

#include <sys/utsname.h>
#include <unistd.h>

#include "common/error.h"
#include "sandbox/pods/resources.h"
#include "sandbox/vmm/domain_xml.h"

typedef Runtime__V1__LinuxContainerResources Resources;

enum {
    CPU_PERIOD_DEFAULT_US = 100000,
    CPU_PERIOD_LEAST_US = 1000, /* the kernel's: kernel/sched/core.c */
    CPU_PERIOD_MOST_US = 1000000,
    GUEST_CPUS_MOST = 64, /* CONFIG_NR_CPUS of the guest's kernel */
    /* The possible growth of a VM is prepared when it is created, and has a price: a few KiB of the guest
     * for each possible processor, and QEMU's bitmaps of each possible page. */
    REACH_VCPUS = 16,
    REACH_FACTOR = 4,
};

static const guint64 MIB = 1 << 20;
/* Measured (docs/performance.md): the kernel's image and tables, slabs, the agent, and crun while it runs. */
static const guint64 OVERHEAD_FIXED_BYTES = 64 << 20;
/* The descriptor of a page is 64 bytes (1/64); the rest is what the kernel keeps free of a memory of that
 * size. */
static const guint64 OVERHEAD_DIVISOR = 24;
/* With less memory the initramfs does not unpack. */
static const guint64 LEAST_MEMORY_BYTES = 64 << 20;
/* The guest's kernel takes memory in blocks of this size at the end of what can be plugged into it: it leaves
 * out the rest of the region, and a size that needs the rest would never be reached. */
static const guint64 GUEST_MEMORY_BLOCK = (guint64)128 << 20;
static const guint64 REACH_MEMORY_BYTES = (guint64)16 << 30;

NodeCapacity node_capacity(void)
{
    struct utsname node;

    return (NodeCapacity){
        .cpus = g_get_num_processors(),
        .memory_bytes = (guint64)sysconf(_SC_PHYS_PAGES) * (guint64)sysconf(_SC_PAGESIZE),
        .plugs = uname(&node) == 0 && domain_xml_plugs_memory(node.machine),
    };
}

guint64 vm_guest_overhead(guint64 memory_bytes)
{
    return OVERHEAD_FIXED_BYTES + memory_bytes / OVERHEAD_DIVISOR;
}

static guint64 round_up(guint64 value, guint64 unit)
{
    return (value + unit - 1) / unit * unit;
}

static guint64 round_down(guint64 value, guint64 unit)
{
    return value / unit * unit;
}

gboolean vm_limits_check(const Resources *resources, const char *field, GError **error)
{
    if (resources->memory_limit_in_bytes < -1)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "%s.memory_limit_in_bytes: %" G_GINT64_FORMAT " is negative", field,
                    resources->memory_limit_in_bytes);
    if (resources->cpu_quota < -1)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s.cpu_quota: %" G_GINT64_FORMAT " is negative", field,
                    resources->cpu_quota);
    if (resources->cpu_period != 0 &&
        (resources->cpu_period < CPU_PERIOD_LEAST_US || resources->cpu_period > CPU_PERIOD_MOST_US))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "%s.cpu_period: %" G_GINT64_FORMAT " is not between %d and %d microseconds", field,
                    resources->cpu_period, CPU_PERIOD_LEAST_US, CPU_PERIOD_MOST_US);
    return TRUE;
}

/* ---- processors ---- */

/* 0: no limit. */
static guint64 cpus_of_limit(const Resources *resources)
{
    guint64 period = resources->cpu_period > 0 ? (guint64)resources->cpu_period : CPU_PERIOD_DEFAULT_US;

    return resources->cpu_quota > 0 ? round_up((guint64)resources->cpu_quota, period) / period : 0;
}

static gboolean vcpus_compute(const Resources *resources, const char *field, const VmBounds *bounds,
                              const NodeCapacity *node, VmSize *size, GError **error)
{
    guint usable = MIN(node->cpus, GUEST_CPUS_MOST);
    guint most = bounds->max_vcpus != 0 ? MIN(bounds->max_vcpus, usable) : usable;
    guint64 wanted;

    if (bounds->vcpus > most)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "vcpus: %u of them are asked for; a VM of this pod may have %u, the node has %u",
                    bounds->vcpus, most, node->cpus);
    wanted = cpus_of_limit(resources);
    if (wanted > most && wanted <= usable)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "%s.cpu_quota: %" G_GUINT64_FORMAT
                    " CPUs are more than the %u that a VM of this pod may have",
                    field, wanted, most);
    size->vcpus = MAX(MAX(bounds->vcpus, (guint)MIN(wanted, most)), 1);
    size->boot_vcpus = node->plugs ? MAX(bounds->vcpus, 1) : size->vcpus;
    size->max_vcpus = node->plugs ? MIN(most, MAX(REACH_VCPUS, size->vcpus * REACH_FACTOR)) : size->vcpus;
    return TRUE;
}

/* ---- memory ---- */

static gboolean memory_compute(const Resources *resources, const char *field, const VmBounds *bounds,
                               const NodeCapacity *node, VmSize *size, GError **error)
{
    guint64 most = round_down(node->memory_bytes, MIB);
    guint64 least = round_up(bounds->memory_bytes, MIB);
    guint64 limit = resources_memory_limit(resources);
    guint64 wanted = 0;

    if (bounds->max_memory_bytes != 0)
        most = MIN(most, round_down(bounds->max_memory_bytes, MIB));
    if (least < LEAST_MEMORY_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "memory: a VM with %" G_GUINT64_FORMAT
                    " MiB does not boot; the least is %" G_GUINT64_FORMAT,
                    least / MIB, LEAST_MEMORY_BYTES / MIB);
    if (least > most)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "memory: %" G_GUINT64_FORMAT
                    " MiB are asked for; a VM of this pod may have %" G_GUINT64_FORMAT,
                    least / MIB, most / MIB);
    if (limit > most && limit <= node->memory_bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "%s.memory_limit_in_bytes: %" G_GUINT64_FORMAT
                    " MiB are more than a VM of this pod may have (%" G_GUINT64_FORMAT
                    " MiB; the node has %" G_GUINT64_FORMAT ")",
                    field, round_up(limit, MIB) / MIB, most / MIB, node->memory_bytes / MIB);
    /* Kubernetes allows a limit above what the node has: it never takes effect, so the VM may become as large
     * as a VM of this pod can be. */
    limit = MIN(limit, most);
    if (limit != 0)
        wanted = round_up(limit + vm_guest_overhead(limit), MIB);
    /* A limit that the node can just grant is not refused because of the kernel's own part. */
    wanted = MIN(MAX(least, wanted), most);
    if (!node->plugs) {
        size->boot_memory_bytes = size->memory_bytes = size->max_memory_bytes = wanted;
        return TRUE;
    }
    size->boot_memory_bytes = least;
    size->memory_bytes = least + MIN(round_up(wanted - least, DOMAIN_MEMORY_BLOCK),
                                     round_down(most - least, GUEST_MEMORY_BLOCK));
    size->max_memory_bytes =
        least +
        round_down(MIN(most, MAX(REACH_MEMORY_BYTES, wanted * REACH_FACTOR)) - least, GUEST_MEMORY_BLOCK);
    return TRUE;
}

gboolean vm_size_compute(const Resources *resources, const char *field, const VmBounds *bounds,
                         const NodeCapacity *node, VmSize *ret_size, GError **error)
{
    static const Resources none = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    VmSize size;

    if (resources == NULL)
        resources = &none;
    if (!vm_limits_check(resources, field, error) ||
        !vcpus_compute(resources, field, bounds, node, &size, error) ||
        !memory_compute(resources, field, bounds, node, &size, error))
        return FALSE;
    *ret_size = size;
    return TRUE;
}
