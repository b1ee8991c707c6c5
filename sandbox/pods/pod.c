/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/pods/pod.h"

#include <string.h>

#include "common/error.h"
#include "common/lock_assert.h"
#include "common/semaphore.h"
#include "common/string_table.h"
#include "sandbox/host/volume_options.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/pod_rest.h"
#include "sandbox/state/state_store.h"
#include "sandbox/templates/guest_network.h"
#include "sandbox/templates/template.h"
#include "sandbox/templates/unassigned_guest.h"

Pod *pod_new(SandboxManager *manager, Settings *settings, const char *id,
             Runtime__V1__PodSandboxConfig *config, const char *handler, HandlerKind kind,
             const PodPlatform *platform, gint64 created_at_ns)
{
    Pod *pod = g_new0(Pod, 1);
    g_autofree char *short_id = g_strndup(id, GUEST_DIRECTORY_ID_DIGITS);

    pod->references = 1;
    pod->manager = manager;
    pod->settings = settings_ref(settings);
    pod->id = g_strdup(id);
    pod->config = config;
    pod->handler = g_strdup(handler);
    pod->kind = kind;
    pod->platform = platform;
    pod->created_at_ns = created_at_ns;
    pod->volume_cache = g_strdup(VOLUME_CACHE_DEFAULT);
    pod->volume_locks = VOLUME_LOCKS_UNKNOWN;
    pod->run_dir = guest_run_dir(&manager->guests, id);
    pod->state_dir = guest_state_dir(&manager->guests, id);
    pod->share_dir = g_build_filename(manager->settings->server.run_dir, "share", short_id, NULL);
    pod->netns_path = guest_netns_path(&manager->guests, id);
    pod->tap = guest_tap(id);
    pod->ips = g_new0(char *, 1);
    pod->containers = string_table_new(NULL, (GDestroyNotify)container_unref);
    pod->sessions = string_table_new(NULL, NULL);
    pod->disks = string_table_new(g_free, NULL);
    pod->reasons = g_string_chunk_new(64);
    pod->trace = trace_new();
    semaphore_init(&pod->job, 1);
    semaphore_init(&pod->create_job, 1);
    semaphore_init(&pod->disk_job, 1);
    semaphore_init(&pod->vm_job, 1);
    g_mutex_init(&pod->lock);
    g_cond_init(&pod->changed);
    return pod;
}

Pod *pod_ref(Pod *pod)
{
    g_atomic_int_inc(&pod->references);
    return pod;
}

void pod_unref(Pod *pod)
{
    if (pod == NULL || !g_atomic_int_dec_and_test(&pod->references))
        return;
    agent_connection_unref(pod->agent);
    settings_unref(pod->settings);
    template_unref(pod->pooled_template);
    guest_network_free(pod->pooled_network);
    pod_samples_clear(&pod->samples);
    trace_free(pod->trace);
    g_hash_table_unref(pod->containers);
    g_hash_table_unref(pod->sessions);
    g_hash_table_unref(pod->disks);
    semaphore_clear(&pod->job);
    semaphore_clear(&pod->create_job);
    semaphore_clear(&pod->disk_job);
    semaphore_clear(&pod->vm_job);
    g_mutex_clear(&pod->lock);
    g_cond_clear(&pod->changed);
    runtime__v1__pod_sandbox_config__free_unpacked(pod->config, NULL);
    g_strfreev(pod->ips);
    g_free(pod->volume_cache);
    g_free(pod->cni_config);
    g_free(pod->cni_result);
    g_free(pod->problem);
    g_free(pod->blocked);
    g_string_chunk_free(pod->reasons);
    g_clear_error(&pod->wake_problem);
    g_free(pod->cgroup_limits.cpus);
    g_free(pod->tap);
    g_free(pod->netns_path);
    g_free(pod->share_dir);
    g_free(pod->state_dir);
    g_free(pod->run_dir);
    g_free(pod->handler);
    g_free(pod->id);
    g_free(pod);
}

/* Called with the lock held. Return: the pod's row, whose strings are copies, for pod_record_free(). */
static PodRecord *pod_record_new_locked(Pod *pod)
{
    PodRecord *record = g_new0(PodRecord, 1);

    LOCK_ASSERT_HELD(&pod->lock);
#define POD_COLUMN(ctype, field, kind) STATE_COPY_##kind(record->field, pod->field);
#include "sandbox/state/state_store.def"
    record->config = cri_pack(&pod->config->base);
    record->kind = g_strdup(handler_kind_name(pod->kind));
    record->ips = g_strjoinv(" ", pod->ips);
    record->boot_vcpus = pod->vm_size.boot_vcpus;
    record->vcpus = pod->vm_size.vcpus;
    record->max_vcpus = pod->vm_size.max_vcpus;
    record->boot_memory_bytes = pod->vm_size.boot_memory_bytes;
    record->memory_bytes = pod->vm_size.memory_bytes;
    record->max_memory_bytes = pod->vm_size.max_memory_bytes;
    return record;
}

gboolean pod_save(Pod *pod, GError **error)
{
    PodRecord *record;
    gboolean saved;

    g_mutex_lock(&pod->lock);
    record = pod_record_new_locked(pod);
    g_mutex_unlock(&pod->lock);
    saved = state_store_put_pod(pod->manager->store, record, error);
    pod_record_free(record);
    return saved;
}

PodState pod_state(Pod *pod)
{
    PodState state;

    g_mutex_lock(&pod->lock);
    state = pod->state;
    g_mutex_unlock(&pod->lock);
    return state;
}

/* The events of the sandbox itself: created and started when it becomes ready, stopped when it no longer is.
 */
static void publish_change(Pod *pod, PodState before, PodState now)
{
    if (now == POD_READY && before != POD_READY) {
        event_publish(pod->manager->events, EVENT(CREATED), pod->id, pod);
        event_publish(pod->manager->events, EVENT(STARTED), pod->id, pod);
    } else if (before == POD_READY && now != POD_READY) {
        event_publish(pod->manager->events, EVENT(STOPPED), pod->id, pod);
    }
}

gboolean pod_set_state(Pod *pod, PodState state, const char *problem, GError **error)
{
    gboolean saved;
    PodState before;

    g_mutex_lock(&pod->lock);
    before = pod->state;
    pod->state = state;
    if (problem != NULL) {
        g_free(pod->problem);
        pod->problem = g_strdup(problem);
    }
    g_cond_broadcast(&pod->changed);
    g_mutex_unlock(&pod->lock);
    saved = pod_save(pod, error);
    publish_change(pod, before, state);
    return saved;
}

AgentConnection *pod_agent(Pod *pod, GError **error)
{
    AgentConnection *agent = NULL;

    g_mutex_lock(&pod->lock);
    if (pod->state == POD_READY && pod->agent != NULL)
        agent = agent_connection_ref(pod->agent);
    else if (pod->state == POD_READY && pod->hibernated)
        fail(error, STATUS_FAILED_PRECONDITION, "sandbox %s is hibernated", pod->id);
    else
        fail(error, STATUS_FAILED_PRECONDITION, "sandbox %s is not ready%s%s", pod->id,
             pod->problem != NULL ? ": " : "", pod->problem != NULL ? pod->problem : "");
    g_mutex_unlock(&pod->lock);
    return agent;
}

gboolean pod_check_ready(Pod *pod, GError **error)
{
    g_autoptr(AgentConnection) agent = NULL;
    g_autoptr(GError) problem = NULL;

    agent = pod_agent(pod, &problem);
    if (agent != NULL || pod_is_hibernated(pod))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

gboolean pod_check_blocked_locked(Pod *pod, const char *doing, GError **error)
{
    LOCK_ASSERT_HELD(&pod->lock);
    return pod->blocked == NULL || fail(error, STATUS_UNAVAILABLE, "%s: %s", doing, pod->blocked);
}

gboolean pod_check_blocked(Pod *pod, const char *doing, GError **error)
{
    gboolean good;

    g_mutex_lock(&pod->lock);
    good = pod_check_blocked_locked(pod, doing, error);
    g_mutex_unlock(&pod->lock);
    return good;
}

AgentConnection *pod_any_agent(Pod *pod)
{
    AgentConnection *agent;

    g_mutex_lock(&pod->lock);
    agent = pod->agent != NULL ? agent_connection_ref(pod->agent) : NULL;
    g_mutex_unlock(&pod->lock);
    return agent;
}

gboolean pod_find_disk(Pod *pod, const char *key, guint *ret_lun)
{
    gpointer lun;
    gboolean found;

    g_mutex_lock(&pod->lock);
    found = g_hash_table_lookup_extended(pod->disks, key, NULL, &lun);
    g_mutex_unlock(&pod->lock);
    if (found)
        *ret_lun = GPOINTER_TO_UINT(lun);
    return found;
}

GPtrArray *pod_containers(Pod *pod)
{
    GPtrArray *containers = g_ptr_array_new_with_free_func((GDestroyNotify)container_unref);
    GHashTableIter iter;
    gpointer container;

    g_mutex_lock(&pod->lock);
    g_hash_table_iter_init(&iter, pod->containers);
    while (g_hash_table_iter_next(&iter, NULL, &container))
        g_ptr_array_add(containers, container_ref(container));
    g_mutex_unlock(&pod->lock);
    return containers;
}

const char *pod_name(const Pod *pod)
{
    return pod->config->metadata->name;
}

const Runtime__V1__NamespaceOption *pod_namespaces(const Runtime__V1__PodSandboxConfig *config)
{
    static const Runtime__V1__NamespaceOption none = RUNTIME__V1__NAMESPACE_OPTION__INIT;
    const Runtime__V1__LinuxSandboxSecurityContext *security =
        config->linux != NULL ? config->linux->security_context : NULL;

    return security != NULL && security->namespace_options != NULL ? security->namespace_options : &none;
}

VmSize pod_vm_size(Pod *pod)
{
    VmSize size;

    g_mutex_lock(&pod->lock);
    size = pod->vm_size;
    g_mutex_unlock(&pod->lock);
    return size;
}
