/* SPDX-License-Identifier: Apache-2.0 */
/* Hibernation: a pod gives its memory back to the node, and goes on later.
 *
 * Its guest is saved (sandbox_save.c) into the directory "hibernation" of the pod's state directory, and its
 * VM ends. All else of the pod stays: ids, network, address, cgroup, logs, writable disk. To wake it, a VM of
 * the same description is created and loads the state.
 *
 * Two facts decide what the pod is, also after the daemon has died at any point: the column `hibernated`, and
 * that directory. While the column is set, the files are whole, and a VM of the pod has not run since; the
 * next daemon destroys such a VM. While it is not set, the VM has the pod's state, and the directory is a
 * leftover; the next daemon lets the VM run and removes the directory. The column is therefore set after the
 * files are on the disk, and cleared before the new VM runs.
 */
#include "sandbox/sandbox_hibernate.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/semaphore.h"
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_share.h"
#include "sandbox/pod/pod_start.h"
#include "sandbox/pod/pod_watch.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/pod_rest.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/pods/stream_sessions.h"
#include "sandbox/sandbox.h"
#include "sandbox/sandbox_checkpoint.h"
#include "sandbox/sandbox_save.h"
#include "sandbox/saved_blocks.h"

enum {
    HIBERNATE_TIMEOUT_MS = 30 * 60 * 1000, /* for a caller without a deadline */
    WAKE_TIMEOUT_MS = 10 * 60 * 1000,
    UNUSED_TIMEOUT_MS = 10 * 1000, /* for calls that are under way */
    END_TIMEOUT_MS = 60 * 1000,
    VOLUMES_TIMEOUT_MS = 40 * 1000,
    CONNECT_TIMEOUT_MS = 60 * 1000,
};

#define DIRECTORY "hibernation"

static Metric hibernations = METRIC_COUNTER("crivirt_hibernations_total",
                                            "Pods that were to be hibernated, by result.", "result", NULL);
static Metric wakes = METRIC_COUNTER(
    "crivirt_wakes_total", "Hibernated pods that were to wake, by cause and result.", "cause", "result");
static Metric wake_seconds = METRIC_SECONDS(
    "crivirt_wake_seconds", "Time from the call or packet that woke a hibernated pod until it ran.", NULL);

/* ---- the files ---- */

/* Return: the directory's path, which the caller frees. */
static char *directory_path(const Pod *pod)
{
    return g_build_filename(pod->state_dir, DIRECTORY, NULL);
}

static gboolean directory_remove(const Pod *pod, GError **error)
{
    g_autofree char *path = directory_path(pod);

    return dir_remove_tree(path, error);
}

static int directory_open(const Pod *pod, GError **error)
{
    g_autofree char *path = directory_path(pod);
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (directory < 0)
        fail_errno(error, errno, "cannot open %s", path);
    return directory;
}

/* Return: a new directory, whose descriptor is the caller's; -1 with the error. */
static int directory_make(const Pod *pod, GError **error)
{
    g_autofree char *path = directory_path(pod);

    return dir_remove_tree(path, error) && dir_make(path, 0700, error) ? directory_open(pod, error) : -1;
}

static void leftovers_remove(const Pod *pod)
{
    g_autoptr(GError) problem = NULL;

    if (!directory_remove(pod, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot remove the saved memory of a pod that runs: %s",
                  problem->message);
}

/* ---- the state ---- */

/* Return: FALSE when the pod is not READY any more, or its VM has ended by itself. */
static gboolean set_hibernated(Pod *pod, gboolean hibernated, GError **error)
{
    gboolean good;

    g_mutex_lock(&pod->lock);
    good = pod->state == POD_READY && pod->lost == NULL;
    if (good)
        pod->hibernated = hibernated;
    g_mutex_unlock(&pod->lock);
    if (!good)
        return fail(error, STATUS_UNAVAILABLE, "the sandbox has ended meanwhile");
    if (pod_save(pod, error))
        return TRUE;
    g_mutex_lock(&pod->lock);
    pod->hibernated = !hibernated;
    g_mutex_unlock(&pod->lock);
    return FALSE;
}

/* ---- into hibernation ---- */

static gboolean pod_check(Pod *pod, GError **error)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);

    if (pod->kind != HANDLER_VM)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "it runs on the node itself, and only a virtual machine can be saved");
    for (guint i = 0; i < containers->len; i++)
        if (!sandbox_save_check_container(containers->pdata[i], error))
            return FALSE;
    return TRUE;
}

/* Rows of disks that could not be attached: after a restart of the daemon the rows alone say which disks the
 * saved guest has. */
static gboolean disks_settle(Pod *pod, GError **error)
{
    g_autoptr(GPtrArray) records = NULL;

    if (!state_store_load_disks(pod->manager->store, pod->id, &records, error))
        return FALSE;
    for (guint i = 0; i < records->len; i++) {
        const PodDiskRecord *record = records->pdata[i];
        guint lun;

        if (!(pod_find_disk(pod, record->diff_id, &lun) && lun == record->lun) &&
            !state_store_delete_disk(pod->manager->store, pod->id, record->lun, error))
            return FALSE;
    }
    return TRUE;
}

/* The pod is hibernated whatever comes of this; the next wake, or daemon, does what fails. */
static gboolean vm_end(Pod *pod, GError **error)
{
    Deadline deadline = deadline_in_ms(END_TIMEOUT_MS);

    pod_watch_begin(pod, FALSE); /* before the tap is gone, with what is in it */
    pod_disconnect(pod);
    pod_share_rest(pod);
    sandbox_save_mark(pod, FALSE);
    if (pod_start_undo_saved(pod, &deadline, error))
        return TRUE;
    g_prefix_error(error, "it is hibernated, but its virtual machine has not ended: ");
    return FALSE;
}

static gboolean save_and_end(Pod *pod, int directory, const Deadline *deadline, GError **error)
{
    gint64 pause_us;

    if (!sandbox_save(pod, directory, SAVE_REST, deadline, &pause_us, error)) {
        g_autofree char *path = directory_path(pod);

        g_prefix_error(error, "saving its memory into %s: ", path);
        return FALSE;
    }
    if (!pod_start_save_inputs(pod, directory, error) || !checkpoint_sync_state(directory, error) ||
        !set_hibernated(pod, TRUE, error)) {
        sandbox_save_go_on(pod);
        return FALSE;
    }
    return vm_end(pod, error);
}

static gboolean hibernate_in_jobs(Pod *pod, const Deadline *deadline, GError **error)
{
    int directory;
    gboolean good;

    if (!pod_check_ready(pod, error) || !pod_check(pod, error) || !pod_share_prepare(pod, error) ||
        !disks_settle(pod, error))
        return FALSE;
    directory = directory_make(pod, error);
    if (directory < 0)
        return FALSE;
    good = saved_blocks_record(pod, directory, error) && save_and_end(pod, directory, deadline, error);
    close(directory);
    if (!pod_is_hibernated(pod))
        leftovers_remove(pod);
    return good;
}

static gboolean hibernate_in_change(Pod *pod, const Deadline *deadline, GError **error)
{
    gboolean good;

    /* An earlier daemon may have died in a change of the VM's size, which the saved state has to fit. */
    if (!pod->platform->fit(pod, NULL, "hibernation", FALSE, deadline, error) ||
        !sandbox_save_take_jobs(pod, deadline, error))
        return FALSE;
    good = hibernate_in_jobs(pod, deadline, error);
    sandbox_save_release_jobs(pod);
    return good;
}

static gboolean hibernate(Pod *pod, gboolean force, const Deadline *deadline, gboolean *ret_changed,
                          GError **error)
{
    Deadline unused = deadline_sooner(deadline, UNUSED_TIMEOUT_MS);
    gboolean is_hibernated;
    gboolean good;

    if (!pod_check(pod, error))
        return FALSE;
    if (force)
        stream_sessions_end(pod, "the sandbox is hibernated");
    if (!pod_rest_change_begin(pod, force, &unused, &is_hibernated, error))
        return FALSE;
    *ret_changed = !is_hibernated;
    if (is_hibernated)
        return TRUE;
    good = hibernate_in_change(pod, deadline, error);
    pod_rest_change_end(pod, NULL);
    return good;
}

gboolean sandbox_hibernate(SandboxManager *manager, const char *id, gboolean force, const Deadline *deadline,
                           GError **error)
{
    Deadline bounded = deadline_sooner(deadline, HIBERNATE_TIMEOUT_MS);
    g_autoptr(Pod) pod = manager_find_pod(manager, id, error);
    const gint64 begin_us = g_get_monotonic_time();
    gboolean changed;

    if (pod == NULL)
        return FALSE;
    if (!hibernate(pod, force, &bounded, &changed, error)) {
        metric_add(&hibernations, 1, "failed", NULL);
        pod_explain(pod, error);
        g_prefix_error(error, "cannot hibernate sandbox %s: ", pod->id);
        return FALSE;
    }
    if (!changed)
        return TRUE;
    metric_add(&hibernations, 1, "ok", NULL);
    log_info(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)), "hibernated in %" G_GINT64_FORMAT " ms",
             (g_get_monotonic_time() - begin_us) / 1000);
    return TRUE;
}

/* ---- out of it ---- */

/* The directory and its files, open. */
typedef struct {
    int directory;
    int ram;
    int devices;
    int volumes; /* -1: there is no share */
} Saved;

static gboolean saved_open(const Pod *pod, Saved *ret_saved, GError **error)
{
    int directory = directory_open(pod, error);

    if (directory < 0)
        return FALSE;
    if (!checkpoint_open_state(directory, &ret_saved->ram, &ret_saved->devices, &ret_saved->volumes, error)) {
        close(directory);
        return FALSE;
    }
    ret_saved->directory = directory;
    return TRUE;
}

static void saved_close(const Saved *saved)
{
    close(saved->directory);
    close(saved->ram);
    close(saved->devices);
    if (saved->volumes >= 0)
        close(saved->volumes);
}

static gboolean container_bind_again(Container *container, GError **error)
{
    for (guint i = 0; i < container->config->n_mounts; i++) {
        g_autofree char *name = container_volume_name(container, i);

        if (name != NULL && !container_volume_bind_again(container, i, name, error))
            return FALSE;
    }
    return TRUE;
}

/* What a container that has ended had mounted may be gone. */
static gboolean volumes_bind_again(gpointer data, GError **error)
{
    g_autoptr(GPtrArray) containers = pod_containers(data);

    for (guint i = 0; i < containers->len; i++) {
        const gboolean ended = container_state(containers->pdata[i]) == CONTAINER_EXITED_STATE;

        if (!container_bind_again(containers->pdata[i], ended ? NULL : error) && !ended)
            return FALSE;
    }
    return TRUE;
}

/* volumes: what the guest has open there; -1: it has no share. */
static void volumes_return(Pod *pod, int volumes)
{
    Deadline deadline = deadline_in_ms(VOLUMES_TIMEOUT_MS);
    g_autoptr(GError) problem = NULL;

    if (!pod_share_return(pod, volumes, volumes_bind_again, pod, &deadline, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "the volumes of a pod that was hibernated fail: %s",
                  problem->message);
}

/* The VM runs from here on, whatever comes of the rest. */
static gboolean vm_go_on(Pod *pod, const Saved *saved, const Deadline *deadline, GError **error)
{
    gboolean runs;

    sandbox_save_mark(pod, TRUE);
    runs = pod_start_run_saved(pod, deadline, error);
    if (runs) {
        pod_watch_pass_on(pod);
        sandbox_save_set_clock(pod);
        volumes_return(pod, saved->volumes);
        sandbox_save_thaw(pod);
    }
    pod_watch_end(pod);
    sandbox_save_mark(pod, FALSE);
    leftovers_remove(pod);
    return runs;
}

static void vm_undo(Pod *pod)
{
    Deadline deadline = deadline_in_ms(END_TIMEOUT_MS);
    g_autoptr(GError) problem = NULL;

    if (!pod_start_undo_saved(pod, &deadline, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot undo a wake that failed: %s", problem->message);
}

static gboolean wake_from(Pod *pod, const Saved *saved, const Deadline *deadline, GError **error)
{
    g_autoptr(GArray) blocks = saved_blocks_open(pod, saved->directory, error);

    if (blocks == NULL)
        return FALSE;
    if (!pod_start_load_saved(pod, saved->directory, saved->ram, saved->devices, blocks, deadline, error) ||
        !pod_watch_hand_over(pod, error) || !set_hibernated(pod, FALSE, error)) {
        vm_undo(pod);
        pod_watch_begin(pod, TRUE);
        return FALSE;
    }
    return vm_go_on(pod, saved, deadline, error);
}

static gboolean wake_in_job(Pod *pod, const Deadline *deadline, GError **error)
{
    gboolean good;
    Saved saved;

    if (!pod_start_undo_saved(pod, deadline, error) || !saved_open(pod, &saved, error))
        return FALSE;
    good = wake_from(pod, &saved, deadline, error);
    saved_close(&saved);
    return good;
}

/* As a start, it waits until fewer guests are starting. */
static gboolean wake_queued(Pod *pod, const Deadline *deadline, GError **error)
{
    Semaphore *boots = &pod->manager->guests.boots;
    gboolean good;

    if (!semaphore_acquire(boots, deadline, "waiting for other guests to boot", error))
        return FALSE;
    good = wake_in_job(pod, deadline, error);
    semaphore_release(boots);
    return good;
}

/* The guest of a pod that is not hibernated, and that an earlier daemon has left at rest. */
static gboolean go_on_in_job(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);
    int directory = agent != NULL ? directory_open(pod, error) : -1;
    int volumes = -1;
    Deadline connect = deadline_sooner(deadline, CONNECT_TIMEOUT_MS);
    gboolean good = directory >= 0 && agent_connection_wait_ready(agent, &connect, error);

    if (directory >= 0) {
        volumes = checkpoint_open_volumes(directory);
        close(directory);
    }
    if (good && pod->frozen) {
        sandbox_save_set_clock(pod);
        volumes_return(pod, volumes);
        sandbox_save_thaw(pod);
    }
    sandbox_save_mark(pod, FALSE);
    if (volumes >= 0)
        close(volumes);
    leftovers_remove(pod);
    return good;
}

static gboolean work(Pod *pod, const Deadline *deadline, GError **error)
{
    if (pod_state(pod) != POD_READY)
        return TRUE; /* it was stopped meanwhile */
    return pod_is_hibernated(pod) ? wake_queued(pod, deadline, error) : go_on_in_job(pod, deadline, error);
}

static gboolean wake(Pod *pod, const Deadline *deadline, GError **error)
{
    gboolean good;

    if (!semaphore_acquire(&pod->job, deadline, "waiting for other work on the sandbox", error))
        return FALSE;
    good = work(pod, deadline, error);
    semaphore_release(&pod->job);
    return good;
}

/* Static. */
static const char *wake_cause(Pod *pod)
{
    const char *cause;

    g_mutex_lock(&pod->lock);
    cause = pod->wake_cause;
    g_mutex_unlock(&pod->lock);
    return cause;
}

void sandbox_wake_work(gpointer data, gpointer unused)
{
    g_autoptr(Pod) pod = data;
    Deadline deadline = {g_get_monotonic_time() + WAKE_TIMEOUT_MS * G_TIME_SPAN_MILLISECOND,
                         pod->manager->closing};
    const gint64 begin_us = g_get_monotonic_time();
    const gboolean hibernated = pod_is_hibernated(pod);
    const char *cause = wake_cause(pod);
    GError *error = NULL;

    (void)unused;
    if (wake(pod, &deadline, &error)) {
        log_info(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod), "cause", cause),
                 "woken in %" G_GINT64_FORMAT " ms", (g_get_monotonic_time() - begin_us) / 1000);
    } else {
        g_prefix_error(&error, "cannot wake sandbox %s: ", pod->id);
        log_error(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)), "%s", error->message);
    }
    if (hibernated)
        metric_add(&wakes, 1, cause, error == NULL ? "ok" : "failed");
    if (hibernated && error == NULL)
        metric_observe_since(&wake_seconds, begin_us, NULL, NULL);
    pod_rest_change_end(pod, error);
}

gboolean sandbox_wake(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    g_autoptr(Pod) pod = manager_find_pod(manager, id, error);
    g_autoptr(PodTurn) turn = NULL;

    if (pod == NULL)
        return FALSE;
    if (pod_state(pod) != POD_READY)
        return fail(error, STATUS_FAILED_PRECONDITION, "sandbox %s is not ready", pod->id);
    turn = pod_turn_take(pod, POD_TURN_USE, deadline, error);
    return turn != NULL;
}

char **sandbox_hibernated_list(SandboxManager *manager)
{
    g_autoptr(GPtrArray) pods = manager_pods(manager);
    GPtrArray *ids = g_ptr_array_new();

    for (guint i = 0; i < pods->len; i++) {
        Pod *pod = pods->pdata[i];

        if (pod_state(pod) == POD_READY && pod_is_hibernated(pod))
            g_ptr_array_add(ids, g_strdup(pod->id));
    }
    g_ptr_array_add(ids, NULL);
    return (char **)g_ptr_array_free(ids, FALSE);
}

/* ---- after a restart of the daemon ---- */

void sandbox_hibernate_recover(Pod *pod, const GPtrArray *domains)
{
    g_autofree char *path = directory_path(pod);
    g_autoptr(GError) error = NULL;

    if (pod->hibernated) {
        Deadline deadline = deadline_in_ms(END_TIMEOUT_MS);

        if (!pod_start_undo_saved(pod, &deadline, &error))
            log_error(LOG_FIELDS("sandbox", pod->id), "cannot end the VM of a hibernated sandbox: %s",
                      error->message);
    } else if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        sandbox_save_resume(pod->manager, pod->id, domains);
        sandbox_save_mark(pod, TRUE);
    }
}

void sandbox_hibernate_go_on(Pod *pod)
{
    g_autofree char *path = directory_path(pod);

    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return;
    g_mutex_lock(&pod->lock);
    pod->rest_changes = TRUE;
    pod->wake_cause = "restart";
    g_mutex_unlock(&pod->lock);
    g_thread_pool_push(pod->manager->wake_workers, pod_ref(pod), NULL);
}

gboolean sandbox_hibernate_can_wake(Pod *pod, const char **ret_why)
{
    *ret_why = "the node was restarted while the sandbox was hibernated, and its network is gone";
    return netns_exists(pod->netns_path);
}
