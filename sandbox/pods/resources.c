/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/resources.h"

typedef Runtime__V1__LinuxContainerResources Resources;

static void resources_append(GByteArray *wire, const Resources *resources)
{
    gsize length = runtime__v1__linux_container_resources__get_packed_size(resources);
    guint start = wire->len;

    if (length == 0)
        return;
    g_byte_array_set_size(wire, (guint)(start + length));
    runtime__v1__linux_container_resources__pack(resources, wire->data + start);
}

/* Protobuf merges messages that follow each other in this way, except that it joins lists. */
Resources *resources_merge(const Resources *present, const Resources *update)
{
    Resources kept = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    g_autoptr(GByteArray) wire = g_byte_array_new();

    if (present != NULL)
        kept = *present;
    if (update->n_hugepage_limits > 0)
        kept.n_hugepage_limits = 0;
    if (update->n_unified > 0)
        kept.n_unified = 0;
    resources_append(wire, &kept);
    resources_append(wire, update);
    return runtime__v1__linux_container_resources__unpack(NULL, wire->len, wire->data);
}

guint64 resources_memory_limit(const Resources *resources)
{
    const gint64 bytes = resources->memory_limit_in_bytes;

    return bytes > 0 && bytes < G_MAXINT64 / 2 ? (guint64)bytes : 0;
}

static gint64 add_capped(gint64 a, gint64 b)
{
    return a > G_MAXINT64 - b ? G_MAXINT64 : a + b;
}

static gint64 quota_of(const Resources *resources)
{
    gint64 period = resources->cpu_period > 0 ? resources->cpu_period : RESOURCES_CPU_PERIOD_US;

    if (resources->cpu_quota <= 0)
        return 0;
    if (resources->cpu_quota > G_MAXINT64 / RESOURCES_CPU_PERIOD_US)
        return G_MAXINT64;
    return MAX(resources->cpu_quota * RESOURCES_CPU_PERIOD_US / period, 1);
}

Limits limits_of(const Resources *resources)
{
    Limits limits = {0};

    if (resources != NULL)
        limits_add(&limits, resources);
    return limits;
}

void limits_add(Limits *sum, const Resources *container)
{
    gint64 quota = container != NULL ? quota_of(container) : 0;

    gint64 memory = container != NULL ? (gint64)resources_memory_limit(container) : 0;

    sum->memory_bytes = add_capped(sum->memory_bytes, memory);
    if (memory == 0)
        sum->n_without_memory++;
    sum->cpu_quota_us = add_capped(sum->cpu_quota_us, quota);
    if (quota == 0)
        sum->n_without_cpu++;
}
