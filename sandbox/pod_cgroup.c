/* A pod's cgroup on the node: what its guest costs counts, and is limited, where the kubelet looks for the
 * pod.
 */

#include "sandbox/cgroup.h"
#include "sandbox/pod.h"
#include "sandbox/resources.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

/* "": the caller manages no cgroups. */
static const char *cgroup_parent(const Pod *pod)
{
    return pod->config->linux != NULL ? pod->config->linux->cgroup_parent : "";
}

static char *cgroup_name(const Pod *pod)
{
    return g_strdup_printf("crivirt-%.24s", pod->id);
}

gboolean pod_cgroup_join(const Pod *pod, pid_t pid, GError **error)
{
    g_autofree char *name = cgroup_name(pod);

    return *cgroup_parent(pod) == '\0' || pid == 0 ||
           cgroup_join(CGROUP_ROOT, cgroup_parent(pod), name, &pid, 1, error);
}

gboolean pod_cgroup_leave(const Pod *pod, GError **error)
{
    g_autofree char *name = cgroup_name(pod);

    return *cgroup_parent(pod) == '\0' || cgroup_leave(CGROUP_ROOT, cgroup_parent(pod), name, error);
}

gboolean pod_cgroup_limit_cpu(const Pod *pod, gint64 quota_us, GError **error)
{
    g_autofree char *name = cgroup_name(pod);

    return *cgroup_parent(pod) == '\0' ||
           cgroup_limit_cpu(CGROUP_ROOT, cgroup_parent(pod), name, quota_us, RESOURCES_CPU_PERIOD_US, error);
}
