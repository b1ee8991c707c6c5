/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's cgroup on the node: the cost of its VM is counted and limited where the kubelet looks for the pod.
 */

#include "sandbox/pod/pod_cgroup.h"

#include "common/log.h"
#include "sandbox/host/cgroup.h"
#include "sandbox/pods/pod.h"
#include "sandbox/pods/resources.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

enum { KILL_TIMEOUT_MS = 10 * 1000 };

/* Memory that QEMU takes beside the guest's, without the programs that all VMs share (docs/performance.md):
 * with KVM, and in addition under emulation, without translated code. */
enum { QEMU_BYTES = 40 << 20, TCG_BYTES = 31 << 20 };

/* "": the client manages no cgroups. */
static const char *cgroup_parent(const Pod *pod)
{
    return pod->config->linux != NULL ? pod->config->linux->cgroup_parent : "";
}

static char *cgroup_name(const Pod *pod)
{
    return g_strdup_printf("crivirt-%.24s", pod->id);
}

gboolean pod_cgroup_is_given(const Pod *pod)
{
    return *cgroup_parent(pod) != '\0';
}

gboolean pod_cgroup_join(const Pod *pod, pid_t pid, GError **error)
{
    g_autofree char *name = cgroup_name(pod);

    if (!pod_cgroup_is_given(pod) || pid == 0)
        return TRUE;
    if (!cgroup_join(CGROUP_ROOT, cgroup_parent(pod), name, &pid, 1, error))
        return FALSE;
    cgroup_set_owner_tag(CGROUP_ROOT, cgroup_parent(pod), name, pod->manager->owner_tag);
    return TRUE;
}

gboolean pod_cgroup_leave(const Pod *pod, GError **error)
{
    const Deadline deadline = deadline_in_ms(KILL_TIMEOUT_MS);
    g_autofree char *name = cgroup_name(pod);

    return !pod_cgroup_is_given(pod) || cgroup_kill(CGROUP_ROOT, cgroup_parent(pod), name, &deadline, error);
}

gboolean pod_cgroup_lacked_memory(const Pod *pod)
{
    g_autofree char *name = cgroup_name(pod);

    return pod_cgroup_is_given(pod) && cgroup_count_oom_kills(CGROUP_ROOT, cgroup_parent(pod), name) != 0;
}

guint64 pod_cgroup_pids_max(const Pod *pod)
{
    return pod_cgroup_is_given(pod) ? cgroup_pids_max(CGROUP_ROOT, cgroup_parent(pod)) : 0;
}

#define ALL_CPUS " "

static void limits_forget(Pod *pod)
{
    pod->cgroup_limits.quota_known = FALSE;
    g_clear_pointer(&pod->cgroup_limits.cpus, g_free);
}

void pod_cgroup_begin(Pod *pod)
{
    limits_forget(pod);
    pod->cgroup_limits = (PodCgroupLimits){.quota_known = TRUE, .cpus = g_strdup(ALL_CPUS)};
}

/* Under systemd each change is a call over the bus, and most changes of a pod leave these limits alone. */
gboolean pod_cgroup_limit_cpu(Pod *pod, gint64 quota_us, GError **error)
{
    PodCgroupLimits *told = &pod->cgroup_limits;
    g_autofree char *name = cgroup_name(pod);

    if (!pod_cgroup_is_given(pod) || (told->quota_known && told->quota_us == quota_us))
        return TRUE;
    told->quota_us = quota_us;
    told->quota_known =
        cgroup_limit_cpu(CGROUP_ROOT, cgroup_parent(pod), name, quota_us, RESOURCES_CPU_PERIOD_US, error);
    return told->quota_known;
}

gboolean pod_cgroup_use_cpus(Pod *pod, const CpuList *cpus, const CpuList *mems, GError **error)
{
    PodCgroupLimits *told = &pod->cgroup_limits;
    g_autofree char *name = cgroup_name(pod);
    g_autofree char *cpus_text = cpu_list_text(cpus);
    g_autofree char *mems_text = cpu_list_text(mems);
    g_autofree char *both = g_strdup_printf("%s %s", cpus_text, mems_text);

    if (!pod_cgroup_is_given(pod) || g_strcmp0(told->cpus, both) == 0)
        return TRUE;
    g_clear_pointer(&told->cpus, g_free);
    if (!cgroup_use_cpus(CGROUP_ROOT, cgroup_parent(pod), name, cpus, mems, error))
        return FALSE;
    told->cpus = g_steal_pointer(&both);
    return TRUE;
}

gboolean pod_cgroup_make_room(Pod *pod, guint64 vm_bytes, GError **error)
{
    const SandboxManager *manager = pod->manager;
    const guint64 code_bytes =
        vmm_uses_kvm(manager->vmm, NULL)
            ? 0
            : ((guint64)manager->settings->hypervisor.tcg_buffer_mib << 20) + TCG_BYTES;
    const guint64 needed_bytes = vm_bytes + QEMU_BYTES + code_bytes;
    g_autofree char *name = cgroup_name(pod);
    guint64 limit_bytes;

    if (!pod_cgroup_is_given(pod))
        return TRUE;
    if (!cgroup_make_room(CGROUP_ROOT, cgroup_parent(pod), name, needed_bytes, &limit_bytes, error))
        return FALSE;
    cgroup_set_owner_tag(CGROUP_ROOT, cgroup_parent(pod), name,
                         manager->owner_tag); /* the parent may be another one now */
    if (limit_bytes == 0)
        return TRUE;
    limits_forget(pod); /* the cgroup beside may be a new one */
    log_warning(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)),
                "the pod's cgroup %s may take %" G_GUINT64_FORMAT
                " MiB, its VM can come to take %" G_GUINT64_FORMAT
                " MiB: its memory counts beside that cgroup. The overhead of a RuntimeClass would make room",
                cgroup_parent(pod), limit_bytes >> 20, needed_bytes >> 20);
    return TRUE;
}
