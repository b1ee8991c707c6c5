/* SPDX-License-Identifier: Apache-2.0 */
/* A pod in a VM: start and end of its guest and network, and the pod's identity in the guest.
 *
 * The guest boots without knowing its pod, so it boots while CNI runs: both need only the network namespace,
 * which exists before either starts.
 */

#include "sandbox/pod/vm_pod.h"

#include <sys/stat.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/pod/pod_cgroup.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_network.h"
#include "sandbox/pod/pod_oom.h"
#include "sandbox/pod/pod_setup.h"
#include "sandbox/pod/pod_share.h"
#include "sandbox/pod/pod_start.h"
#include "sandbox/pod/pod_vm.h"
#include "sandbox/pods/container.h"
#include "sandbox/state/state_store.h"
#include "sandbox/templates/guest_journal.h"
#include "sandbox/templates/template.h"
#include "sandbox/volumes/share.h"

enum { DESTROY_TIMEOUT_MS = 20 * 1000, DETACH_TIMEOUT_MS = 20 * 1000 };

/* ---- start ---- */

static gboolean guest_setup(Pod *pod, const PodRequest *request, const CniResult *network,
                            const Deadline *deadline, GError **error)
{
    if (request->checkpoint != NULL ? pod_setup_restored(pod, network, deadline, error)
                                    : pod_setup(pod, network, deadline, error))
        return TRUE;
    g_prefix_error(error, "cannot set up the guest: ");
    pod_start_prefix_console(pod, error);
    return FALSE;
}

static gboolean vm_pod_end(Pod *pod, void (*on_destroyed)(Pod *), const Deadline *deadline, GError **error);

typedef struct {
    Pod *pod;
    const Deadline *deadline;
    CniResult *network;
    GError *error;
} NetworkJob;

/* A guest is useless without its network: calls that wait for the boot fail at once. */
static void boot_abandon(Pod *pod)
{
    g_mutex_lock(&pod->lock);
    pod->abandoned = TRUE;
    if (pod->agent != NULL)
        agent_connection_abandon(pod->agent, "the pod's network could not be set up");
    g_mutex_unlock(&pod->lock);
}

static gpointer network_thread(gpointer data)
{
    NetworkJob *job = data;
    gint64 begin_us = g_get_monotonic_time();

    if (pod_network_add(job->pod, job->deadline, &job->network, &job->error)) {
        trace_add(job->pod->trace, TRACE_NETWORK, NULL, begin_us);
        pod_network_record(job->pod, job->network);
        /* DEL needs the result, so it is stored before the guest can fail. */
        if (!pod_save(job->pod, &job->error))
            g_clear_pointer(&job->network, cni_result_free);
    }
    if (job->network == NULL)
        boot_abandon(job->pod);
    return NULL;
}

static gboolean vm_grow(Pod *pod, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();

    if (!pod_vm_grow_to_plan(pod, deadline, error))
        return FALSE;
    trace_add(pod->trace, TRACE_GROW, NULL, begin_us);
    return TRUE;
}

/* Detects a VM that died while no call to it was under way. */
static gboolean vm_check_alive(Pod *pod, GError **error)
{
    const char *lost;

    g_mutex_lock(&pod->lock);
    lost = pod->lost;
    g_mutex_unlock(&pod->lock);
    return lost == NULL || fail(error, STATUS_UNAVAILABLE, "%s", lost);
}

static gboolean start_everything(Pod *pod, const PodRequest *request, const Deadline *deadline,
                                 GError **error)
{
    NetworkJob job = {.pod = pod, .deadline = deadline, .network = pod_network_taken(pod)};
    g_autoptr(CniResult) network = NULL;
    GThread *thread = NULL;
    gboolean booted;
    gint64 begin_us;

    if (job.network == NULL) {
        if (!netns_create(pod->netns_path, error))
            return FALSE;
        thread = g_thread_new("cni-add", network_thread, &job);
    }
    /* A guest that goes on from a checkpoint has its size. */
    booted = pod_start_vm(pod, request, deadline, error) &&
             (request->checkpoint != NULL || vm_grow(pod, deadline, error));
    if (thread != NULL)
        g_thread_join(thread);
    network = job.network;
    if (network == NULL) { /* the cause, when the boot was abandoned because of the network */
        g_clear_error(error);
        g_propagate_error(error, job.error);
        return FALSE;
    }
    begin_us = g_get_monotonic_time();
    if (!booted ||
        !redirect_install(pod->netns_path, GUEST_INTERFACE, pod->tap,
                          pod_network_is_filtered(pod) ? network->addresses : NULL, error) ||
        !guest_setup(pod, request, network, deadline, error))
        return FALSE;
    trace_add(pod->trace, TRACE_SETUP, NULL, begin_us);
    return vm_check_alive(pod, error);
}

/* Waits until fewer guests are booting. */
static gboolean start_queued(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();
    gboolean started;

    if (!semaphore_acquire(&pod->manager->guests.boots, deadline, "waiting for other guests to boot", error))
        return FALSE;
    trace_add(pod->trace, TRACE_QUEUE, NULL, begin_us);
    started = start_everything(pod, request, deadline, error);
    if (started)
        trace_add(pod->trace, TRACE_ALL, NULL, begin_us);
    semaphore_release(&pod->manager->guests.boots);
    return started;
}

static gboolean vm_pod_start(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error)
{
    gboolean started;
    g_autoptr(GError) undo_error = NULL;
    Deadline cleanup;

    guest_journal_forget(&pod->manager->guests, pod->id); /* the pod's row names its VM from now on */
    started = start_queued(pod, request, deadline, error);
    g_clear_pointer(&pod->pooled_template, template_unref);
    if (started)
        return TRUE;
    pod_explain(pod, error);
    /* The clean-up has a deadline of its own, because the caller's may have passed. */
    cleanup = deadline_in_ms(DESTROY_TIMEOUT_MS + pod->settings->network.cni_timeout_ms);
    if (!vm_pod_end(pod, NULL, &cleanup, &undo_error)) {
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot undo a failed start: %s", undo_error->message);
        pod_set_state(pod, POD_STOPPING, undo_error->message, NULL);
    }
    return FALSE;
}

/* ---- end ---- */

static gboolean guest_destroy(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, DESTROY_TIMEOUT_MS);

    return vmm_destroy(pod->manager->vmm, pod->id, &bounded, error);
}

static gpointer network_del_thread(gpointer data)
{
    NetworkJob *job = data;
    Deadline bounded = deadline_sooner(job->deadline, job->pod->settings->network.cni_timeout_ms);

    return GINT_TO_POINTER(pod_network_del(job->pod, &bounded, &job->error));
}

static gboolean tap_end(Pod *pod, GError **error)
{
    return tap_delete(pod->tap, netns_exists(pod->netns_path) ? pod->netns_path : "", error) &&
           tap_delete(pod->tap, "", error);
}

static gboolean files_end(Pod *pod, GError **error)
{
    return pod_cgroup_leave(pod, error) && share_delete(pod->share_dir, error) &&
           dir_remove_tree(pod->state_dir, error) && dir_remove_tree(pod->run_dir, error);
}

/* Of several parts that are ended whatever comes of the others, the first error counts. */
static GError **unless_set(GError **error)
{
    return *error == NULL ? error : NULL;
}

/* The guest and what belongs to it are removed while CNI runs, which takes longer: a guest whose network is
 * released early can reach nobody, and the tap is not CNI's. A network that cannot be released now does not
 * keep the rest from being removed. */
static gboolean vm_pod_end(Pod *pod, void (*on_destroyed)(Pod *), const Deadline *deadline, GError **error)
{
    NetworkJob job = {.pod = pod, .deadline = deadline};
    GThread *thread;
    GError *problem = NULL;
    gboolean destroyed;

    pod_disconnect(pod);
    thread = g_thread_new("cni-del", network_del_thread, &job);
    destroyed = guest_destroy(pod, deadline, &problem);
    if (destroyed && on_destroyed != NULL)
        on_destroyed(pod);
    if (destroyed) {
        (void)tap_end(pod, unless_set(&problem));
        (void)files_end(pod, unless_set(&problem));
    }
    if (!GPOINTER_TO_INT(g_thread_join(thread))) {
        if (problem == NULL)
            problem = g_steal_pointer(&job.error);
        g_clear_error(&job.error);
    } else if (destroyed) {
        (void)netns_delete(pod->netns_path, unless_set(&problem));
    }
    if (problem == NULL)
        return TRUE;
    g_propagate_error(error, problem);
    return FALSE;
}

/* ---- while it runs ---- */

/* Called under disk_job. Each disk has a LUN of its own that is not used again, so that the guest never
 * confuses two disks. Return:
 * FALSE when the disk is attached already. */
static gboolean lun_take(Pod *pod, const char *key, guint *ret_lun)
{
    if (pod_find_disk(pod, key, ret_lun))
        return FALSE;
    g_mutex_lock(&pod->lock);
    *ret_lun = ++pod->last_lun;
    g_mutex_unlock(&pod->lock);
    return TRUE;
}

/* Called under disk_job. The row is written before the disk is attached. */
static gboolean attach_disk(Pod *pod, const char *key, DiskSpec *disk, GError **error)
{
    g_autofree char *serial = g_strdup_printf(GUEST_DISK_SERIAL_FORMAT, disk->lun);

    disk->serial = serial;
    if (!state_store_put_disk(pod->manager->store, pod->id, disk->lun, key, error) ||
        !vmm_attach_disk(pod->manager->vmm, pod->id, disk, error))
        return FALSE;
    g_mutex_lock(&pod->lock);
    g_hash_table_insert(pod->disks, g_strdup(key), GUINT_TO_POINTER(disk->lun));
    g_mutex_unlock(&pod->lock);
    return TRUE;
}

/* Called under disk_job. */
static gboolean attach_layer(Pod *pod, const ImageLayer *layer, guint *ret_lun, GError **error)
{
    DiskSpec disk = {.path = layer->path, .readonly = TRUE};
    gboolean is_new = lun_take(pod, layer->key, &disk.lun);

    if (is_new && !attach_disk(pod, layer->key, &disk, error))
        return FALSE;
    *ret_lun = disk.lun;
    return TRUE;
}

/* A place that is given is not taken again. */
static void lun_use(Pod *pod, guint lun)
{
    g_mutex_lock(&pod->lock);
    pod->last_lun = MAX(pod->last_lun, lun);
    g_mutex_unlock(&pod->lock);
}

gboolean vm_pod_attach_layer_at(Pod *pod, const ImageLayer *layer, guint lun, GError **error)
{
    DiskSpec disk = {.lun = lun, .path = layer->path, .readonly = TRUE};

    lun_use(pod, lun);
    return attach_disk(pod, layer->key, &disk, error);
}

static gboolean vm_pod_attach_layers(Pod *pod, const GPtrArray *layers, const Deadline *deadline,
                                     GArray **ret_layers, GError **error)
{
    g_autoptr(GArray) attached = g_array_new(FALSE, FALSE, sizeof(PodLayer));
    gboolean good = TRUE;

    if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to attach disks", error))
        return FALSE;
    for (guint i = 0; good && i < layers->len; i++) {
        PodLayer layer = {0};

        good = attach_layer(pod, layers->pdata[i], &layer.lun, error);
        g_array_append_val(attached, layer);
    }
    semaphore_release(&pod->disk_job);
    if (good)
        *ret_layers = g_steal_pointer(&attached);
    return good;
}

/* ---- block devices of the node ---- */

static char *block_node_path(const Pod *pod, guint lun)
{
    return g_strdup_printf("%s/disk-%u", pod->state_dir, lun);
}

/* Called under disk_job. */
static gboolean attach_block(Pod *pod, const char *key, const char *host_path, const BlockDevice *device,
                             gboolean readonly, guint lun, GError **error)
{
    g_autofree char *node = block_node_path(pod, lun);
    DiskSpec disk = {.lun = lun, .path = node, .readonly = readonly, .lasting = TRUE};
    BlockDeviceNode target = {.path = node, .readonly = readonly};
    gboolean good;
    int hold;

    if (!vmm_user(pod->manager->vmm, pod->id, &target.uid, &target.gid, error) ||
        !block_device_make_node(device, host_path, &target, &hold, error))
        return FALSE;
    good = attach_disk(pod, key, &disk, error);
    if (hold >= 0)
        close(hold);
    if (!good)
        unlink(node);
    return good;
}

gboolean vm_pod_attach_block(Pod *pod, const char *host_path, const BlockDevice *device, gboolean readonly,
                             const Deadline *deadline, guint *ret_lun, GError **error)
{
    g_autofree char *key = block_device_key(device, readonly);
    gboolean good;
    guint lun;

    if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to attach disks", error))
        return FALSE;
    good = !lun_take(pod, key, &lun) || attach_block(pod, key, host_path, device, readonly, lun, error);
    semaphore_release(&pod->disk_job);
    if (!good)
        g_prefix_error(error, "the block device %s: ", host_path);
    else
        *ret_lun = lun;
    return good;
}

gboolean vm_pod_attach_block_at(Pod *pod, const BlockAttachment *attachment, GError **error)
{
    g_autofree char *key = block_device_key(&attachment->device, attachment->readonly);

    lun_use(pod, attachment->lun);
    if (attach_block(pod, key, attachment->host_path, &attachment->device, attachment->readonly,
                     attachment->lun, error))
        return TRUE;
    g_prefix_error(error, "the block device %s: ", attachment->host_path);
    return FALSE;
}

/* Called under disk_job. */
static gboolean detach_block(Pod *pod, const char *key, guint lun, GError **error)
{
    Deadline deadline = deadline_in_ms(DETACH_TIMEOUT_MS);
    g_autofree char *serial = g_strdup_printf(GUEST_DISK_SERIAL_FORMAT, lun);
    g_autofree char *node = block_node_path(pod, lun);
    DiskSpec disk = {.lun = lun, .path = node, .serial = serial, .lasting = TRUE};

    if (!vmm_detach_disk(pod->manager->vmm, pod->id, &disk, &deadline, error) ||
        !state_store_delete_disk(pod->manager->store, pod->id, lun, error))
        return FALSE;
    unlink(node);
    g_mutex_lock(&pod->lock);
    g_hash_table_remove(pod->disks, key);
    g_mutex_unlock(&pod->lock);
    return TRUE;
}

gboolean vm_pod_detach_block(Pod *pod, const char *key, const Deadline *deadline, GError **error)
{
    gboolean good;
    guint lun;

    /* The disks of a guest that has ended are gone; their files are removed with the pod. */
    if (pod_state(pod) != POD_READY)
        return TRUE;
    if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to detach disks", error))
        return FALSE;
    good = !pod_find_disk(pod, key, &lun) || detach_block(pod, key, lun, error);
    semaphore_release(&pod->disk_job);
    return good;
}

/* ---- after a restart ---- */

static gboolean guest_runs(Pod *pod, const GPtrArray *domains)
{
    for (guint i = 0; i < domains->len; i++) {
        const VmmDomain *domain = domains->pdata[i];

        if (g_str_equal(domain->name, pod->id))
            return domain->running;
    }
    return FALSE;
}

/* Another daemon, perhaps an earlier version, has started the VM. */
static gboolean guest_adopt(Pod *pod, const GPtrArray *domains)
{
    if (!guest_runs(pod, domains))
        return FALSE;
    pod_oom_follow(pod);
    return TRUE;
}

static gboolean guest_has_disk(Pod *pod, const GPtrArray *domains, guint lun)
{
    g_autofree char *serial = g_strdup_printf(GUEST_DISK_SERIAL_FORMAT, lun);
    gboolean attached = FALSE;

    if (pod->hibernated)
        return TRUE; /* the others have no rows (sandbox_hibernate.c) */
    return guest_runs(pod, domains) && vmm_has_disk(pod->manager->vmm, pod->id, serial, &attached, NULL) &&
           attached;
}

static pid_t guest_process(Pod *pod)
{
    return vmm_pid(pod->manager->vmm, pod->id);
}

const PodPlatform vm_pod_platform = {
    .what = "the pod's virtual machine",
    .take_pooled = pod_start_take_pooled,
    .start = vm_pod_start,
    .end = vm_pod_end,
    .destroy = guest_destroy,
    .attach_layers = vm_pod_attach_layers,
    .attach_share = vm_pod_attach_share,
    .fit = pod_vm_fit,
    .process = guest_process,
    .adopt = guest_adopt,
    .has_disk = guest_has_disk,
};
