/* SPDX-License-Identifier: Apache-2.0 */
/* Resizes a pod's VM as the limits of the pod change: processors and memory are plugged and unplugged while
 * it runs. */

#include "sandbox/pod/pod_vm.h"

#include "common/error.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/pod/pod_cgroup.h"
#include "sandbox/pod/pod_cpus.h"
#include "sandbox/pod/pod_oom.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/cri_copy.h"

typedef Runtime__V1__LinuxContainerResources Resources;

enum {
    AGENT_TIMEOUT_MS = 30 * 1000,
    /* The guest takes and returns memory in steps. A guest that makes no step within this time is considered
     * stalled. */
    STALLED_MS = 10 * 1000,
    UNREPORTED_MS = 1500, /* QEMU reports a change at most once a second */
    LOOK_EVERY_MS = 5,
    LEFT_BYTES = 16 << 20, /* stays available to the guest when memory is taken from it */
};

/* ---- what the pod may use ---- */

static Limits containers_limits_locked(Pod *pod, const PodChange *change)
{
    g_autoptr(GPtrArray) containers = pod_container_resources_locked(pod, change);
    Limits sum = {0};

    for (guint i = 0; i < containers->len; i++)
        limits_add(&sum, containers->pdata[i]);
    return sum;
}

static const Resources *pod_resources(const Pod *pod, const PodChange *change)
{
    if (change != NULL && change->pod_resources != NULL)
        return change->pod_resources;
    return pod->config->linux != NULL ? pod->config->linux->resources : NULL;
}

Limits pod_vm_limits(Pod *pod, const PodChange *change, Limits *ret_whole)
{
    Limits own;
    Limits sum;

    g_mutex_lock(&pod->lock);
    own = limits_of(pod_resources(pod, change));
    sum = containers_limits_locked(pod, change);
    g_mutex_unlock(&pod->lock);
    ret_whole->memory_bytes = sum.n_without_memory == 0 ? own.memory_bytes : 0;
    ret_whole->cpu_quota_us = sum.n_without_cpu == 0 ? own.cpu_quota_us : 0;
    sum.memory_bytes =
        ret_whole->memory_bytes != 0 ? own.memory_bytes : MAX(own.memory_bytes, sum.memory_bytes);
    sum.cpu_quota_us =
        ret_whole->cpu_quota_us != 0 ? own.cpu_quota_us : MAX(own.cpu_quota_us, sum.cpu_quota_us);
    return sum;
}

/* *ret_quota_us: the limit on the processor time of the whole pod; 0: none. */
static Resources pod_claims(Pod *pod, const PodChange *change, gint64 *ret_quota_us)
{
    Resources claims = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    Limits whole = {0};
    const Limits limits = pod_vm_limits(pod, change, &whole);

    claims.memory_limit_in_bytes = limits.memory_bytes;
    claims.cpu_quota = limits.cpu_quota_us;
    claims.cpu_period = RESOURCES_CPU_PERIOD_US;
    *ret_quota_us = whole.cpu_quota_us;
    return claims;
}

/* ---- size ---- */

static gboolean size_record(Pod *pod, const VmSize *size, GError **error)
{
    g_mutex_lock(&pod->lock);
    pod->vm_size = *size;
    g_mutex_unlock(&pod->lock);
    return pod_save(pod, error);
}

/* ---- resizing ---- */

/* *ret_available_bytes: memory that the guest does not use. */
static gboolean use_vcpus(Pod *pod, guint vcpus, const Deadline *deadline, guint64 *ret_available_bytes,
                          GError **error)
{
    Crivirt__Agent__V1__ResizeVmRequest resize = CRIVIRT__AGENT__V1__RESIZE_VM_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, AGENT_TIMEOUT_MS);
    g_autoptr(AgentConnection) agent = pod_any_agent(pod);
    g_autoptr(AgentResizeVmResponse) response = NULL;

    if (agent == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION, "sandbox %s has no guest", pod->id);
    resize.vcpus = vcpus;
    if (!vmm_plug_vcpus(pod->manager->vmm, pod->id, vcpus, error) ||
        !agent_resize_vm(agent, &resize, &bounded, &response, error))
        return FALSE;
    *ret_available_bytes = response->memory_available_bytes;
    return TRUE;
}

/* *ret_bytes: the size that was reached, also when it is not the requested one. */
static gboolean memory_wait(Pod *pod, guint64 wanted_bytes, const Deadline *deadline, guint64 *ret_bytes,
                            GError **error)
{
    gint64 moved_us = g_get_monotonic_time();
    guint64 last;
    guint64 present;

    if (!vmm_plugged_memory(pod->manager->vmm, pod->id, ret_bytes, error))
        return FALSE;
    for (last = *ret_bytes; *ret_bytes != wanted_bytes; last = *ret_bytes) {
        g_usleep((gulong)LOOK_EVERY_MS * 1000);
        if (!vmm_plugged_memory(pod->manager->vmm, pod->id, ret_bytes, error) ||
            !pod_check_blocked(pod, "changing the guest's memory", error) ||
            !deadline_check(deadline, "changing the guest's memory", error))
            return FALSE;
        if (*ret_bytes != last)
            moved_us = g_get_monotonic_time();
        else if (g_get_monotonic_time() - moved_us > UNREPORTED_MS * G_GINT64_CONSTANT(1000) &&
                 vmm_plugged_memory_now(pod->manager->vmm, pod->id, &present, NULL) &&
                 present == wanted_bytes)
            *ret_bytes = present; /* which ends the loop */
        else if (g_get_monotonic_time() - moved_us > STALLED_MS * G_GINT64_CONSTANT(1000))
            return fail(error, STATUS_UNAVAILABLE, "the guest %s",
                        *ret_bytes > wanted_bytes ? "needs its memory and does not give it back"
                                                  : "does not take memory");
    }
    return TRUE;
}

/* A request that the guest does not meet is withdrawn. size->memory_bytes becomes the size that was
 * reached. */
static gboolean plug_memory(Pod *pod, VmSize *size, const Deadline *deadline, GError **error)
{
    const guint64 pluggable = size->max_memory_bytes - size->boot_memory_bytes;
    const guint64 wanted = size->memory_bytes - size->boot_memory_bytes;
    guint64 plugged = wanted;

    if (pluggable == 0)
        return TRUE;
    if (vmm_request_memory(pod->manager->vmm, pod->id, pluggable, wanted, error) &&
        memory_wait(pod, wanted, deadline, &plugged, error))
        return TRUE;
    vmm_request_memory(pod->manager->vmm, pod->id, pluggable, plugged, NULL);
    size->memory_bytes = size->boot_memory_bytes + plugged;
    return FALSE;
}

/* Refuses to take memory that the guest uses, because its kernel would kill processes to return it. */
static gboolean spare_check(const VmSize *from, const VmSize *to, guint64 available_bytes, GError **error)
{
    guint64 taken;

    if (to->memory_bytes >= from->memory_bytes)
        return TRUE;
    taken = from->memory_bytes - to->memory_bytes;
    return taken + LEFT_BYTES <= available_bytes ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "the guest needs its memory: %" G_GUINT64_FORMAT
                " MiB are to be taken from it, and %" G_GUINT64_FORMAT " MiB are not in use",
                taken >> 20, available_bytes >> 20);
}

/* The planned size is stored first, so that the next daemon knows it if this one dies meanwhile. */
static gboolean vm_resize(Pod *pod, const VmSize *from, const VmSize *to, const Deadline *deadline,
                          GError **error)
{
    VmSize is = *to;
    guint64 available_bytes;
    gboolean unsure;

    g_mutex_lock(&pod->lock);
    unsure = pod->vm_size_unsure;
    g_mutex_unlock(&pod->lock);
    if (from->vcpus == to->vcpus && from->memory_bytes == to->memory_bytes && !unsure)
        return TRUE;
    if (!size_record(pod, to, error))
        return FALSE;
    if (!use_vcpus(pod, to->vcpus, deadline, &available_bytes, error) ||
        !spare_check(from, to, available_bytes, error)) {
        use_vcpus(pod, from->vcpus, deadline, &available_bytes, NULL);
        size_record(pod, from, NULL);
        return FALSE;
    }
    if ((from->memory_bytes != to->memory_bytes || unsure) && !plug_memory(pod, &is, deadline, error)) {
        size_record(pod, &is, NULL);
        return FALSE;
    }
    g_mutex_lock(&pod->lock);
    pod->vm_size_unsure = FALSE;
    g_mutex_unlock(&pod->lock);
    return TRUE;
}

gboolean pod_vm_grow_to_plan(Pod *pod, const Deadline *deadline, GError **error)
{
    const VmSize planned = pod_vm_size(pod);
    VmSize booted = planned;

    booted.vcpus = booted.boot_vcpus;
    booted.memory_bytes = booted.boot_memory_bytes;
    if (vm_resize(pod, &booted, &planned, deadline, error))
        return TRUE;
    g_prefix_error(error, "cannot give the guest its processors and memory: ");
    return FALSE;
}

/* ---- while it runs ---- */

static void limit_quota(Pod *pod, gint64 quota_us)
{
    g_autoptr(GError) error = NULL;

    if (!pod_cgroup_limit_cpu(pod, quota_us, &error))
        log_warning(LOG_FIELDS("sandbox", pod->id), "%s", error->message);
}

/* A size that the VM can never reach is refused by vm_size_compute(), whose bounds are the VM's. */
static gboolean fit_in_job(Pod *pod, const PodChange *change, const char *field, gboolean may_shrink,
                           const Deadline *deadline, GError **error)
{
    const NodeCapacity node = node_capacity();
    const VmSize now = pod_vm_size(pod);
    const VmBounds bounds = {now.boot_vcpus, now.max_vcpus, now.boot_memory_bytes, now.max_memory_bytes};
    gint64 quota_us;
    const Resources claims = pod_claims(pod, change, &quota_us);
    VmSize wanted;

    if (now.vcpus == 0)
        return change == NULL || change->pod_resources == NULL ||
               fail(error, STATUS_FAILED_PRECONDITION,
                    "sandbox %s was started by an earlier crivirt: its size cannot change", pod->id);
    if (!vm_size_compute(&claims, field, &bounds, &node, &wanted, error))
        return FALSE;
    wanted.max_vcpus = now.max_vcpus;
    wanted.max_memory_bytes = now.max_memory_bytes;
    if (!may_shrink) {
        wanted.vcpus = MAX(wanted.vcpus, now.vcpus);
        wanted.memory_bytes = MAX(wanted.memory_bytes, now.memory_bytes);
    }
    if ((wanted.memory_bytes > now.memory_bytes && !pod_cgroup_make_room(pod, wanted.memory_bytes, error)) ||
        !vm_resize(pod, &now, &wanted, deadline, error))
        return FALSE;
    limit_quota(pod, quota_us);
    return pod_cpus_follow_in_job(pod, change, field, error);
}

gboolean pod_vm_fit(Pod *pod, const PodChange *change, const char *field, gboolean may_shrink,
                    const Deadline *deadline, GError **error)
{
    gboolean fits;

    if (!semaphore_acquire(&pod->vm_job, deadline, "waiting for another change of the VM's size", error))
        return FALSE;
    fits = fit_in_job(pod, change, field, may_shrink, deadline, error);
    semaphore_release(&pod->vm_job);
    pod_oom_follow(pod);
    return fits;
}
