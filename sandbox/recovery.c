/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery: after a restart of the daemon, what the store records and what exists are brought in line.
 *
 * A pod whose guest runs goes on undisturbed. A start that was cut off is undone, an end that was cut off is
 * completed, and VMs without a row are destroyed.
 */

#include "sandbox/recovery.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/container/container_blocks.h"
#include "sandbox/container/container_remove.h"
#include "sandbox/host/volume_options.h"
#include "sandbox/pod/platforms.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_network.h"
#include "sandbox/pod/pod_share.h"
#include "sandbox/pod/pod_watch.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "sandbox/sandbox_checkpoint.h"
#include "sandbox/sandbox_hibernate.h"
#include "sandbox/state/state_store.h"
#include "sandbox/templates/unassigned_guest.h"

enum { END_TIMEOUT_MS = 60 * 1000 };

/* ---- rows to objects ---- */

static GArray *groups_split(const char *text)
{
    GArray *groups = g_array_new(FALSE, FALSE, sizeof(gint64));
    g_auto(GStrv) words = g_strsplit(text != NULL ? text : "", " ", -1);

    for (guint i = 0; words[i] != NULL; i++)
        if (*words[i] != '\0') {
            gint64 group = g_ascii_strtoll(words[i], NULL, 10);

            g_array_append_val(groups, group);
        }
    return groups;
}

static char **words_split(const char *text)
{
    return text != NULL && *text != '\0' ? g_strsplit(text, " ", -1) : g_new0(char *, 1);
}

static Container *container_restore(Pod *pod, const ContainerRecord *record, GError **error)
{
    gsize length;
    const guint8 *data = g_bytes_get_data(record->config, &length);
    Runtime__V1__ContainerConfig *config = runtime__v1__container_config__unpack(NULL, length, data);
    g_auto(GStrv) diff_ids = words_split(record->diff_ids);
    Container *container;

    if (config == NULL || config->metadata == NULL) {
        fail(error, STATUS_DATA_LOSS, "the stored configuration of container %s is damaged", record->id);
        return NULL;
    }
    container = container_new(pod, record->id, record->guest_id, config, record->image_id, diff_ids,
                              record->created_at_ns);
#define CONTAINER_COLUMN(ctype, field, kind) STATE_COPY_##kind(container->field, record->field);
#include "sandbox/state/state_store.def"
    /* The events that an earlier daemon has published. */
    container->announced = record->state == CONTAINER_EXITED_STATE    ? (int)EVENT(STOPPED)
                           : record->state == CONTAINER_RUNNING_STATE ? (int)EVENT(STARTED)
                           : record->state == CONTAINER_CREATED_STATE ? (int)EVENT(CREATED)
                                                                      : -1;
    container->end_is_stored = record->state == CONTAINER_EXITED_STATE;
    g_array_unref(container->groups);
    container->groups = groups_split(record->groups);
    return container;
}

static Pod *pod_restore(SandboxManager *manager, const PodRecord *record, GError **error)
{
    gsize length;
    const guint8 *data = g_bytes_get_data(record->config, &length);
    Runtime__V1__PodSandboxConfig *config = runtime__v1__pod_sandbox_config__unpack(NULL, length, data);
    HandlerKind kind;
    g_autoptr(Settings) settings = live_settings_get(manager->live);
    Pod *pod;

    if (config == NULL || config->metadata == NULL || !handler_kind_from_name(record->kind, &kind) ||
        volume_cache_word(record->volume_cache) == NULL) {
        fail(error, STATUS_DATA_LOSS, "the stored configuration of sandbox %s is damaged", record->id);
        return NULL;
    }
    pod = pod_new(manager, settings, record->id, config, record->handler, kind, pod_platform(kind),
                  record->created_at_ns);
#define POD_COLUMN(ctype, field, kind) STATE_COPY_##kind(pod->field, record->field);
#include "sandbox/state/state_store.def"
    pod->vm_size_unsure = TRUE;
    pod->vm_size = (VmSize){record->boot_vcpus,        record->vcpus,        record->max_vcpus,
                            record->boot_memory_bytes, record->memory_bytes, record->max_memory_bytes};
    g_strfreev(pod->ips);
    pod->ips = words_split(record->ips);
    return pod;
}

static void container_pin(Container *container)
{
    g_autoptr(GPtrArray) layers = NULL;
    g_autoptr(GError) error = NULL;

    if (!image_service_pin_layers(container->pod->manager->images, container->id,
                                  (const char *const *)container->diff_ids, &layers, &error))
        log_warning(LOG_FIELDS("container", container->id), "the container's image is damaged: %s",
                    error->message);
}

static void container_log_restore(Container *container)
{
    g_autofree char *cursor = g_build_filename(container->pod->state_dir, container->id, "log-cursor", NULL);
    g_autoptr(GError) error = NULL;

    /* Without a cursor the container was never started. */
    if (g_file_test(cursor, G_FILE_TEST_EXISTS) &&
        !container_io_open_log(container->io, container->log_path, cursor, &error))
        log_error(LOG_FIELDS("container", container->id), "%s", error->message);
}

static gboolean containers_load(Pod *pod, GError **error)
{
    g_autoptr(GPtrArray) records = NULL;

    if (!state_store_load_containers(pod->manager->store, pod->id, &records, error))
        return FALSE;
    for (guint i = 0; i < records->len; i++) {
        g_autoptr(Container) container = container_restore(pod, records->pdata[i], error);

        if (container == NULL)
            return FALSE;
        g_hash_table_insert(pod->containers, container->guest_id, container_ref(container));
        id_table_insert(pod->manager->containers, container->id, container_ref(container));
        container_pin(container);
        container_blocks_restore(container);
        if (container->state == CONTAINER_CREATED_STATE || container->state == CONTAINER_RUNNING_STATE)
            container_log_restore(container);
    }
    return TRUE;
}

/* ---- pods ---- */

/* A row is written before its disk is attached, so only the VM shows which disks it has. */
static gboolean disks_load(Pod *pod, const GPtrArray *domains, GError **error)
{
    g_autoptr(GPtrArray) records = NULL;

    if (!state_store_load_disks(pod->manager->store, pod->id, &records, error))
        return FALSE;
    for (guint i = 0; i < records->len; i++) {
        const PodDiskRecord *record = records->pdata[i];

        pod->last_lun = MAX(pod->last_lun, record->lun);
        if (pod->platform->has_disk(pod, domains, record->lun))
            g_hash_table_insert(pod->disks, g_strdup(record->diff_id), GUINT_TO_POINTER(record->lun));
    }
    return TRUE;
}

/* A CreateContainer that was cut off: the guest drops the container when it is deleted, or with the pod. */
static void half_made_containers_forget(Pod *pod)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);

    for (guint i = 0; i < containers->len; i++) {
        g_autoptr(GError) error = NULL;

        if (container_state(containers->pdata[i]) == CONTAINER_CREATING &&
            !container_forget(containers->pdata[i], NULL, &error))
            log_error(LOG_FIELDS("sandbox", pod->id), "%s", error->message);
    }
}

/* RunPodSandbox never returned the pod. */
static void half_made_pod_undo(Pod *pod)
{
    Deadline deadline = {g_get_monotonic_time() + END_TIMEOUT_MS * G_TIME_SPAN_MILLISECOND,
                         pod->manager->closing};
    g_autoptr(GError) error = NULL;
    gboolean undone;

    semaphore_acquire(&pod->job, NULL, "undoing it", NULL);
    undone = pod->platform->end(pod, NULL, &deadline, &error) &&
             state_store_delete_pod(pod->manager->store, pod->id, &error);
    if (undone)
        manager_remove_pod(pod->manager, pod);
    semaphore_release(&pod->job);
    if (undone)
        return;
    log_error(LOG_FIELDS("sandbox", pod->id), "cannot undo the start of a sandbox that was cut off: %s",
              error->message);
    pod_set_state(pod, POD_STOPPING, error->message, NULL);
}

static void half_ended_pod_end(Pod *pod)
{
    Deadline deadline = {g_get_monotonic_time() + END_TIMEOUT_MS * G_TIME_SPAN_MILLISECOND,
                         pod->manager->closing};
    g_autoptr(GError) error = NULL;

    /* The kubelet's next StopPodSandbox tries again what fails here. */
    if (!sandbox_stop(pod->manager, pod->id, &deadline, &error))
        log_error(LOG_FIELDS("sandbox", pod->id), "%s", error->message);
}

/* Runs on a worker: a CNI plugin may take long, and only calls for these pods have to wait. */
void recovery_work(gpointer data, gpointer unused)
{
    Pod *pod = data;

    (void)unused;
    cni_end_orphans(pod->id);
    if (pod_state(pod) == POD_STARTING)
        half_made_pod_undo(pod);
    else
        half_ended_pod_end(pod);
    pod_unref(pod);
}

static void pod_resume_hibernated(Pod *pod)
{
    const char *why;

    if (sandbox_hibernate_can_wake(pod, &why))
        pod_watch_begin(pod, FALSE);
    else
        pod_lost(pod, why);
}

static void pod_resume(Pod *pod, const GPtrArray *domains)
{
    half_made_containers_forget(pod);
    switch (pod->state) {
    case POD_STARTING:
    case POD_STOPPING:
        g_thread_pool_push(pod->manager->recovery_workers, pod_ref(pod), NULL);
        break;
    case POD_READY:
        if (pod->hibernated) {
            pod_resume_hibernated(pod);
        } else if (pod->platform->adopt(pod, domains)) {
            pod_connect(pod, FALSE);
            pod_share_watch(pod);
            sandbox_hibernate_go_on(pod);
        } else {
            g_autofree char *why =
                g_strdup_printf("%s died while crivirtd was not running", pod->platform->what);

            pod_lost(pod, why);
        }
        break;
    case POD_STOPPED:
        break;
    }
}

static gboolean is_known(GPtrArray *pods, const char *id)
{
    for (guint i = 0; i < pods->len; i++)
        if (g_str_equal(((Pod *)pods->pdata[i])->id, id))
            return TRUE;
    return FALSE;
}

static void orphan_vms_destroy(SandboxManager *manager, const GPtrArray *domains, GPtrArray *pods)
{
    for (guint i = 0; i < domains->len; i++) {
        const VmmDomain *domain = domains->pdata[i];
        Deadline deadline = deadline_in_ms(END_TIMEOUT_MS);
        g_autoptr(GError) error = NULL;

        if (is_known(pods, domain->name))
            continue;
        log_warning(LOG_FIELDS("domain", domain->name),
                    "destroying a virtual machine that belongs to no sandbox");
        if (!vmm_destroy(manager->vmm, domain->name, &deadline, &error))
            log_error(LOG_FIELDS("domain", domain->name), "%s", error->message);
        pod_network_del_orphan(manager, domain->name);
    }
}

/* An UnassignedGuestIsPod; data is the manager, whose table no other thread uses yet. */
static gboolean is_id_of_pod(const char *id, gconstpointer data)
{
    return id_table_lookup(((const SandboxManager *)data)->pods, id) != NULL;
}

gboolean manager_recover(SandboxManager *manager, GError **error)
{
    g_autoptr(GPtrArray) records = NULL;
    g_autoptr(GPtrArray) domains = NULL;
    g_autoptr(GPtrArray) pods = g_ptr_array_new_with_free_func((GDestroyNotify)pod_unref);

    if (!state_store_load_pods(manager->store, &records, error))
        return FALSE;
    for (guint i = 0; i < records->len; i++) {
        Pod *pod = pod_restore(manager, records->pdata[i], error);

        if (pod == NULL)
            return FALSE;
        g_ptr_array_add(pods, pod);
        manager_add_pod(manager, pod);
        if (!containers_load(pod, error))
            return FALSE;
    }
    unassigned_guest_sweep(&manager->guests, is_id_of_pod, manager);
    if (!vmm_list(manager->vmm, &domains, error))
        return FALSE;
    sandbox_checkpoint_recover(manager, domains);
    for (guint i = 0; i < pods->len; i++)
        if (((Pod *)pods->pdata[i])->state == POD_READY)
            sandbox_hibernate_recover(pods->pdata[i], domains);
    for (guint i = 0; i < pods->len; i++)
        if (!disks_load(pods->pdata[i], domains, error))
            return FALSE;
    orphan_vms_destroy(manager, domains, pods);
    g_ptr_array_unref(sandbox_collect_orphans(manager, FALSE));
    pod_network_collect(manager);
    for (guint i = 0; i < pods->len; i++)
        pod_resume(pods->pdata[i], domains);
    if (pods->len > 0)
        log_info(LOG_NO_FIELDS, "recovered %u sandboxes", pods->len);
    return TRUE;
}
