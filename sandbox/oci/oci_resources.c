/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "sandbox/oci/oci_parts.h"

typedef Runtime__V1__LinuxContainerResources Resources;

static void put_device_rule(JsonWriter *json, gboolean allow, const char *type, gint64 major, gint64 minor,
                            const char *access)
{
    json_writer_open_object(json, NULL);
    json_writer_bool(json, "allow", allow);
    if (type != NULL)
        json_writer_string(json, "type", type);
    if (major >= 0)
        json_writer_int(json, "major", major);
    if (minor >= 0)
        json_writer_int(json, "minor", minor);
    json_writer_string(json, "access", access);
    json_writer_close_object(json);
}

/* The device files that every container has: null, zero, full, tty, random, urandom, ptmx and its slaves. */
static void put_device_rules(JsonWriter *json, const OciSpecInput *input)
{
    gboolean privileged = oci_security(input)->privileged;
    static const gint64 usual[][2] = {{1, 3}, {1, 5}, {1, 7}, {5, 0}, {1, 8}, {1, 9}, {5, 2}, {136, -1}};

    json_writer_open_array(json, "devices");
    put_device_rule(json, privileged, NULL, -1, -1, "rwm");
    for (gsize i = 0; !privileged && i < G_N_ELEMENTS(usual); i++)
        put_device_rule(json, TRUE, "c", usual[i][0], usual[i][1], "rwm");
    oci_put_device_rules(json, input);
    json_writer_close_array(json);
}

/* The CPUs and memory nodes are those of the node: the VM is limited to them, not the container in it. */
static void put_cpu(JsonWriter *json, const Resources *resources, gboolean in_guest)
{
    json_writer_open_object(json, "cpu");
    if (resources->cpu_shares > 0)
        json_writer_int(json, "shares", resources->cpu_shares);
    if (resources->cpu_quota != 0)
        json_writer_int(json, "quota", resources->cpu_quota);
    if (resources->cpu_period > 0)
        json_writer_int(json, "period", resources->cpu_period);
    if (!in_guest && *resources->cpuset_cpus != '\0')
        json_writer_string(json, "cpus", resources->cpuset_cpus);
    if (!in_guest && *resources->cpuset_mems != '\0')
        json_writer_string(json, "mems", resources->cpuset_mems);
    json_writer_close_object(json);
}

static void put_memory(JsonWriter *json, const Resources *resources, gboolean in_guest)
{
    json_writer_open_object(json, "memory");
    if (resources->memory_limit_in_bytes > 0)
        json_writer_int(json, "limit", resources->memory_limit_in_bytes);
    /* Like the OCI, the CRI counts memory and swap together. A guest has no swap. */
    if (!in_guest && resources->memory_swap_limit_in_bytes > 0 &&
        resources->memory_swap_limit_in_bytes >= resources->memory_limit_in_bytes)
        json_writer_int(json, "swap", resources->memory_swap_limit_in_bytes);
    json_writer_close_object(json);
}

/* The kubelet's "2MB" is that of the kernel's files (hugetlb.2MB). A limit of 0 is left out: a container
 * without huge pages has none anyway, and a guest without pages of that size has no file for it. */
static gboolean put_hugepages(JsonWriter *json, const Resources *resources, GError **error)
{
    json_writer_open_array(json, "hugepageLimits");
    for (size_t i = 0; i < resources->n_hugepage_limits; i++) {
        const Runtime__V1__HugepageLimit *limit = resources->hugepage_limits[i];

        if (limit->limit == 0)
            continue;
        if (!g_str_equal(limit->page_size, "2MB") && !g_str_equal(limit->page_size, "1GB"))
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "linux.resources.hugepage_limits: \"%s\" is not a size of huge pages",
                        limit->page_size);
        json_writer_open_object(json, NULL);
        json_writer_string(json, "pageSize", limit->page_size);
        json_writer_int(json, "limit", (gint64)MIN(limit->limit, (guint64)G_MAXINT64));
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
    return TRUE;
}

/* Return: whether the key is a controller and a file of it, such as "cpu.weight". */
static gboolean is_cgroup_key(const char *key)
{
    return strchr(key, '.') != NULL && *key != '.' &&
           key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == '\0';
}

/* The limits on swap of cgroup v2. The kubelet sends memory.swap.max=0 with each container on a node of
 * cgroup v2. A guest has no swap, so each such limit holds without being set, and its kernel may have no file
 * for it. */
static gboolean limits_swap(const char *key)
{
    static const char *const keys[] = {"memory.swap.max", "memory.swap.high", "memory.zswap.max", NULL};

    return g_strv_contains(keys, key);
}

/* Return: whether the value is "max" or a whole number, which the kernel accepts
 * (Documentation/admin-guide/cgroup-v2.rst). */
static gboolean is_limit(const char *value)
{
    return g_str_equal(value, "max") || (*value != '\0' && value[strspn(value, "0123456789")] == '\0');
}

static gboolean put_unified(JsonWriter *json, const Resources *resources, gboolean in_guest, GError **error)
{
    json_writer_open_object(json, "unified");
    for (size_t i = 0; i < resources->n_unified; i++) {
        const char *key = resources->unified[i]->key;
        const char *value = resources->unified[i]->value;

        if (!is_cgroup_key(key))
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "linux.resources.unified: \"%s\" is not a file of a cgroup", key);
        if (limits_swap(key) && !is_limit(value))
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "linux.resources.unified: %s: \"%s\" is neither \"max\" nor a number of bytes", key,
                        value);
        if (!in_guest || !limits_swap(key))
            json_writer_string(json, key, value);
    }
    json_writer_close_object(json);
    return TRUE;
}

static gboolean resources_check(const Resources *resources, GError **error)
{
    if (resources->cpu_shares < 0 || resources->cpu_period < 0 || resources->cpu_quota < -1 ||
        resources->memory_limit_in_bytes < -1)
        return fail(error, STATUS_INVALID_ARGUMENT, "linux.resources: a limit is negative");
    if (resources->memory_swap_limit_in_bytes > 0 &&
        resources->memory_swap_limit_in_bytes < resources->memory_limit_in_bytes)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.resources.memory_swap_limit_in_bytes, which includes the memory, is less than "
                    "memory_limit_in_bytes");
    return TRUE;
}

/* Writes all limits except those of devices. */
static gboolean put_limits(JsonWriter *json, const Resources *resources, gboolean in_guest, GError **error)
{
    put_cpu(json, resources, in_guest);
    put_memory(json, resources, in_guest);
    return put_hugepages(json, resources, error) && put_unified(json, resources, in_guest, error);
}

gboolean oci_put_resources(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    const Resources *resources = oci_resources(input);

    if (!resources_check(resources, error))
        return FALSE;
    json_writer_open_object(json, "resources");
    put_device_rules(json, input);
    if (!put_limits(json, resources, input->node == NULL, error))
        return FALSE;
    json_writer_close_object(json);
    return TRUE;
}

gboolean oci_spec_resources(const Resources *resources, gboolean in_guest, char **ret_json, GError **error)
{
    g_autoptr(JsonWriter) json = json_writer_new();

    json_writer_open_object(json, NULL);
    if (!resources_check(resources, error) || !put_limits(json, resources, in_guest, error))
        return FALSE;
    json_writer_close_object(json);
    *ret_json = json_writer_copy(json);
    return TRUE;
}
