/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/pod_cpus.h"

#include "common/log.h"
#include "sandbox/pod/pod_cgroup.h"

typedef Runtime__V1__LinuxContainerResources Resources;

/* What the containers may use together. */
typedef struct {
    CpuList list;
    gboolean any; /* a container has no set of its own */
} Union;

static gboolean union_add(Union *all, const char *text, const char *field, const char *name, GError **error)
{
    g_autofree char *whole = g_strdup_printf("%s.%s", field, name);

    all->any = all->any || *text == '\0';
    return cpu_list_add(&all->list, text, whole, error);
}

static gboolean containers_add_locked(Pod *pod, const PodChange *change, const char *field, Union *cpus,
                                      Union *mems, GError **error)
{
    g_autoptr(GPtrArray) containers = pod_container_resources_locked(pod, change);

    for (guint i = 0; i < containers->len; i++) {
        const Resources *resources = containers->pdata[i];

        if (!union_add(cpus, resources->cpuset_cpus, field, "cpuset_cpus", error) ||
            !union_add(mems, resources->cpuset_mems, field, "cpuset_mems", error))
            return FALSE;
    }
    return TRUE;
}

gboolean pod_cpus_follow_in_job(Pod *pod, const PodChange *change, const char *field, GError **error)
{
    static const CpuList all = {0};
    Union cpus = {0};
    Union mems = {0};
    gboolean good;

    g_mutex_lock(&pod->lock);
    good = containers_add_locked(pod, change, field, &cpus, &mems, error);
    g_mutex_unlock(&pod->lock);
    if (!good)
        return FALSE;
    if (!pod_cgroup_is_given(pod)) {
        if (cpu_list_length(&cpus.list) + cpu_list_length(&mems.list) != 0)
            log_warning(LOG_FIELDS("sandbox", pod->id),
                        "%s.cpuset_cpus and cpuset_mems have no effect: the pod has no linux.cgroup_parent",
                        field);
        return TRUE;
    }
    return pod_cgroup_use_cpus(pod, cpus.any ? &all : &cpus.list, mems.any ? &all : &mems.list, error);
}
