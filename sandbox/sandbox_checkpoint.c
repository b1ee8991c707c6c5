/* SPDX-License-Identifier: Apache-2.0 */
/* CheckpointPod: saves a running pod at one moment, and lets it run on.
 *
 * The moment is made in two steps. The agent freezes the containers' processes, so that none of them is in
 * the middle of a system call and all of them can be held back in the restored guest. Then the VM is paused,
 * and memory, devices and writable disk are saved. The rest, above all the digests, follows when the pod runs
 * again.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "common/string_table.h"
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_share.h"
#include "sandbox/pod/pod_start.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "sandbox/sandbox_checkpoint.h"
#include "sandbox/templates/unassigned_guest.h"
#include "sandbox/vmm/vmm_state.h"

enum {
    CHECKPOINT_TIMEOUT_MS = 30 * 60 * 1000, /* for a caller without a deadline */
    FREEZE_TIMEOUT_MS = 20 * 1000,          /* the agent's own time, and a busy guest */
    HOLD_TIMEOUT_MS = 10 * 1000, /* the guest decides how long it takes, while its containers are frozen */
    GO_ON_TIMEOUT_MS = 20 * 1000,
    JOURNAL_MAX_BYTES = 64 << 10,
};

#define JOURNAL "checkpoints"

/* ---- what can be saved ---- */

static gboolean container_check(const Pod *pod, Container *container, GError **error)
{
    const Runtime__V1__ContainerConfig *config = container->config;

    if (container->pod != pod)
        return fail(error, STATUS_INVALID_ARGUMENT, "container_ids: container %s is not of sandbox %s",
                    container->id, pod->id);
    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container_ids: container %s is not running",
                    container->id);
    if (config->n_devices > 0 || config->n_cdi_devices > 0)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "container %s has devices of the node, whose state cannot be saved", container->id);
    if (container->blocks != NULL && container->blocks[0] != NULL)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "container %s has a block volume of the node, which a checkpoint cannot have yet",
                    container->id);
    for (size_t i = 0; i < config->n_mounts; i++)
        if (config->mounts[i]->image != NULL)
            return fail(error, STATUS_FAILED_PRECONDITION,
                        "container %s mounts an image at %s, which a checkpoint cannot have yet",
                        container->id, config->mounts[i]->container_path);
    return TRUE;
}

/* Return: the containers that the request names, referenced; the array releases them. */
static GPtrArray *containers_choose(Pod *pod, const Runtime__V1__CheckpointPodRequest *request,
                                    GError **error)
{
    g_autoptr(GPtrArray) chosen = g_ptr_array_new_with_free_func((GDestroyNotify)container_unref);
    g_autoptr(GHashTable) names = string_table_new(NULL, NULL);

    if (request->n_container_ids == 0) {
        fail(error, STATUS_INVALID_ARGUMENT, "container_ids: the list is empty");
        return NULL;
    }
    for (size_t i = 0; i < request->n_container_ids; i++) {
        Container *container = manager_find_container(pod->manager, request->container_ids[i], error);

        if (container == NULL)
            return NULL;
        g_ptr_array_add(chosen, container);
        if (!container_check(pod, container, error))
            return NULL;
        if (!g_hash_table_add(names, container->config->metadata->name)) {
            fail(error, STATUS_INVALID_ARGUMENT, "container_ids: container %s comes twice",
                 container->config->metadata->name);
            return NULL;
        }
    }
    return g_steal_pointer(&chosen);
}

static gboolean pod_check(Pod *pod, GError **error)
{
    if (pod->kind != HANDLER_VM)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "sandbox %s runs on the node itself, and only a virtual machine can be saved", pod->id);
    if (pod_state(pod) != POD_READY)
        return fail(error, STATUS_FAILED_PRECONDITION, "sandbox %s is not ready", pod->id);
    return TRUE;
}

/* ---- the description ---- */

static Runtime__V1__RestorePodRequest *request_describe_locked(Pod *pod, const GPtrArray *containers)
{
    Runtime__V1__RestorePodRequest request = RUNTIME__V1__RESTORE_POD_REQUEST__INIT;
    g_autofree Runtime__V1__ContainerConfig **configs =
        g_new0(Runtime__V1__ContainerConfig *, containers->len);

    for (guint i = 0; i < containers->len; i++)
        configs[i] = ((Container *)containers->pdata[i])->config;
    request.config = pod->config;
    request.runtime_handler = pod->handler;
    request.container_configs = configs;
    request.n_container_configs = containers->len;
    return cri_dup(&request.base);
}

static void container_describe_locked(Checkpoint *checkpoint, const Container *container)
{
    CheckpointContainer *described = checkpoint_add_container(checkpoint);

    described->name = g_strdup(container->config->metadata->name);
    described->id = g_strdup(container->guest_id);
    described->image_id = g_strdup(container->image_id);
    described->layers = g_strdupv(container->diff_ids);
    described->uid = container->uid;
    described->gid = container->gid;
    described->stop_signal = container->stop_signal;
    g_array_append_vals(described->groups, container->groups->data, container->groups->len);
}

static void binds_describe(Checkpoint *checkpoint, const GPtrArray *containers)
{
    for (guint i = 0; i < containers->len; i++) {
        const Container *container = containers->pdata[i];

        for (guint j = 0; j < container->config->n_mounts; j++) {
            char *name = container_volume_name(container, j);

            if (name != NULL)
                checkpoint_add_bind(checkpoint->containers->pdata[i], j, name);
        }
    }
}

static gint by_lun(gconstpointer a, gconstpointer b)
{
    const CheckpointDisk *first = *(CheckpointDisk *const *)a;
    const CheckpointDisk *second = *(CheckpointDisk *const *)b;

    return first->lun < second->lun ? -1 : first->lun > second->lun;
}

static void disks_describe_locked(Checkpoint *checkpoint, Pod *pod)
{
    GHashTableIter iter;
    gpointer key;
    gpointer lun;

    g_hash_table_iter_init(&iter, pod->disks);
    while (g_hash_table_iter_next(&iter, &key, &lun)) {
        CheckpointDisk *disk = checkpoint_add_disk(checkpoint);

        disk->lun = GPOINTER_TO_UINT(lun);
        disk->key = g_strdup(key);
    }
    g_ptr_array_sort(checkpoint->disks, by_lun);
}

/* The containers that the saved guest has and the checkpoint leaves out. */
static void others_describe_locked(Checkpoint *checkpoint, Pod *pod, const GPtrArray *containers)
{
    GHashTableIter iter;
    gpointer container;

    g_hash_table_iter_init(&iter, pod->containers);
    while (g_hash_table_iter_next(&iter, NULL, &container))
        if (!g_ptr_array_find((GPtrArray *)containers, container, NULL))
            g_ptr_array_add(checkpoint->others, g_strdup(((Container *)container)->guest_id));
}

/* Return: everything but the digests; NULL with the error. */
static Checkpoint *checkpoint_describe(Pod *pod, const GPtrArray *containers, GError **error)
{
    g_autoptr(Checkpoint) checkpoint = checkpoint_new();

    checkpoint->inputs = pod_start_run_inputs(pod, error);
    if (checkpoint->inputs == NULL)
        return NULL;
    checkpoint->made_at_s = g_get_real_time() / G_USEC_PER_SEC;
    checkpoint->handler = g_strdup(pod->handler);
    g_mutex_lock(&pod->lock);
    checkpoint->size = (CheckpointSize){pod->vm_size.boot_vcpus,   pod->vm_size.vcpus,
                                        pod->vm_size.max_vcpus,    pod->vm_size.boot_memory_bytes,
                                        pod->vm_size.memory_bytes, pod->vm_size.max_memory_bytes};
    checkpoint->share = pod->share_attached;
    checkpoint->request = request_describe_locked(pod, containers);
    for (guint i = 0; i < containers->len; i++)
        container_describe_locked(checkpoint, containers->pdata[i]);
    disks_describe_locked(checkpoint, pod);
    others_describe_locked(checkpoint, pod, containers);
    g_mutex_unlock(&pod->lock);
    if (checkpoint->share != 0)
        binds_describe(checkpoint, containers);
    return g_steal_pointer(&checkpoint);
}

/* ---- the moment ---- */

static void set_saving(Pod *pod, gboolean saving)
{
    g_mutex_lock(&pod->lock);
    pod->saving = saving;
    g_mutex_unlock(&pod->lock);
}

static gboolean freeze(AgentConnection *agent, gboolean keep_share, const Deadline *deadline, GError **error)
{
    Crivirt__Agent__V1__FreezeRequest request = CRIVIRT__AGENT__V1__FREEZE_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, FREEZE_TIMEOUT_MS);

    request.keep_share = keep_share;
    return agent_freeze(agent, &request, &bounded, NULL, error);
}

/* Has a deadline of its own, because the caller's may have passed. A failure is no failure of the checkpoint:
 * a guest that does not go on has ended, or is found dead. */
static void thaw(Pod *pod, AgentConnection *agent)
{
    const Crivirt__Agent__V1__ThawRequest request = CRIVIRT__AGENT__V1__THAW_REQUEST__INIT;
    Deadline deadline = deadline_in_ms(GO_ON_TIMEOUT_MS);
    g_autoptr(GError) problem = NULL;

    if (!agent_thaw(agent, &request, &deadline, NULL, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot thaw the containers after a checkpoint: %s",
                  problem->message);
}

static gboolean state_save(Pod *pod, int directory, const Deadline *deadline, GError **error)
{
    g_autofree char *upper = guest_disk_path(&pod->manager->guests, pod->id);
    g_autofree char *disk = checkpoint_disk_path(directory);
    int ram;
    int devices;
    gboolean saved;

    if (!checkpoint_make_files(directory, &ram, &devices, error))
        return FALSE;
    saved = vmm_state_save(pod->manager->vmm, pod->id, ram, devices, deadline, error) &&
            file_copy_sparse(upper, disk, 0600, deadline, error);
    close(ram);
    close(devices);
    return saved;
}

static gboolean save_paused(Pod *pod, int directory, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean saved =
        vmm_pause(pod->manager->vmm, pod->id, error) && state_save(pod, directory, deadline, error);

    if (!vmm_resume(pod->manager->vmm, pod->id, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot resume the guest after a checkpoint: %s",
                  problem->message);
    return saved;
}

static gboolean save_held(Pod *pod, AgentConnection *agent, int directory, const Deadline *deadline,
                          GError **error)
{
    Deadline bounded = deadline_sooner(deadline, HOLD_TIMEOUT_MS);
    gboolean saved;

    if (!agent_connection_hold(agent, &bounded, error))
        return FALSE;
    saved = save_paused(pod, directory, deadline, error);
    agent_connection_release(agent);
    agent_connections_check_clocks(pod->manager->agents);
    return saved;
}

/* As thaw(): with a deadline of its own. */
static void unpark(Pod *pod, AgentConnection *agent)
{
    Deadline deadline = deadline_in_ms(GO_ON_TIMEOUT_MS);
    g_autoptr(GError) problem = NULL;

    if (!pod_share_unpark(pod, agent, &deadline, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "the pod's volumes fail after a checkpoint: %s",
                  problem->message);
}

/* QEMU cannot save a guest that has the device of a share. */
static gboolean save_without_share(Pod *pod, AgentConnection *agent, int directory, const Deadline *deadline,
                                   GError **error)
{
    int volumes = checkpoint_make_volumes(directory, error);
    gboolean saved;

    if (volumes < 0)
        return FALSE;
    saved =
        pod_share_park(pod, volumes, deadline, error) && save_held(pod, agent, directory, deadline, error);
    close(volumes);
    unpark(pod, agent);
    return saved;
}

/* *ret_pause_us: how long the containers did not run. */
static gboolean save_frozen(Pod *pod, int directory, const Deadline *deadline, gint64 *ret_pause_us,
                            GError **error)
{
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);
    const gint64 begin_us = g_get_monotonic_time();
    const gboolean shares = pod->share_attached != 0;
    gboolean saved;

    if (agent == NULL || !agent_connection_check_protocol(
                             agent, shares ? WIRE_PROTOCOL_PARK : WIRE_PROTOCOL_SAVE, "a checkpoint", error))
        return FALSE;
    set_saving(pod, TRUE);
    saved = freeze(agent, shares, deadline, error) &&
            (shares ? save_without_share(pod, agent, directory, deadline, error)
                    : save_held(pod, agent, directory, deadline, error));
    /* When the connection loses this Thaw, the next Hello reports that the containers are frozen. */
    set_saving(pod, FALSE);
    thaw(pod, agent);
    *ret_pause_us = g_get_monotonic_time() - begin_us;
    return saved;
}

/* ---- the journal ---- */

/* Two calls may save one pod, one after the other, so an entry is named by the pod and the directory. Return:
 * the path, which the caller frees. */
static char *journal_path(Pod *pod, const struct stat *directory)
{
    g_autofree char *name = g_strdup_printf("%s.%" G_GUINT64_FORMAT, pod->id, (guint64)directory->st_ino);

    return g_build_filename(pod->manager->guests.state_dir, JOURNAL, name, NULL);
}

/* Records the directory by its inode as well, because the next daemon must not touch another one of that
 * path. *ret_entry, which the caller frees, is for journal_end(). */
static gboolean journal_write(Pod *pod, int directory, const char *output_path, char **ret_entry,
                              GError **error)
{
    g_autofree char *folder = g_build_filename(pod->manager->guests.state_dir, JOURNAL, NULL);
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    struct stat status;

    if (fstat(directory, &status) != 0)
        return fail_errno(error, errno, "output_path: %s", output_path);
    path = journal_path(pod, &status);
    text = g_strdup_printf("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT " %s", (guint64)status.st_dev,
                           (guint64)status.st_ino, output_path);
    if (!dir_make(folder, 0700, error) || !file_write_atomic(path, text, strlen(text), 0600, error))
        return FALSE;
    *ret_entry = g_steal_pointer(&path);
    return TRUE;
}

static void journal_end(const char *entry)
{
    if (entry != NULL)
        unlink(entry);
}

static void journal_undo(const char *text)
{
    const char *space = strchr(text, ' ');
    int directory = space != NULL ? open(space + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    g_autofree char *inode = NULL;
    struct stat status;

    if (directory < 0)
        return;
    if (fstat(directory, &status) == 0) {
        inode = g_strdup_printf("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT " ", (guint64)status.st_dev,
                                (guint64)status.st_ino);
        if (g_str_has_prefix(text, inode))
            checkpoint_discard(directory);
    }
    close(directory);
}

static void guest_go_on(SandboxManager *manager, const char *id, const GPtrArray *domains)
{
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < domains->len; i++) {
        VmmDomain *domain = domains->pdata[i];

        if (!g_str_equal(domain->name, id) || domain->running)
            continue;
        domain->running = vmm_resume(manager->vmm, id, &error);
        if (!domain->running)
            log_error(LOG_FIELDS("sandbox", id), "cannot resume a guest that was being saved: %s",
                      error->message);
    }
}

void sandbox_checkpoint_recover(SandboxManager *manager, const GPtrArray *domains)
{
    g_autofree char *folder = g_build_filename(manager->guests.state_dir, JOURNAL, NULL);
    g_autofree char *scratch = sandbox_checkpoint_scratch(manager);
    g_autoptr(GDir) entries = g_dir_open(folder, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *id = g_strndup(name, strcspn(name, "."));
        g_autofree char *text = NULL;

        if (file_read(path, JOURNAL_MAX_BYTES, &text, NULL, NULL))
            journal_undo(text);
        guest_go_on(manager, id, domains);
        unlink(path);
    }
    dir_remove_tree(scratch, NULL);
}

/* ---- the RPC ---- */

/* The jobs keep the guest as it is described: nothing is created in it, attached to it, or resized. */
static gboolean save_in_jobs(Pod *pod, const GPtrArray *containers, int directory, const Deadline *deadline,
                             Checkpoint **ret_checkpoint, gint64 *ret_pause_us, GError **error)
{
    Semaphore *const jobs[] = {&pod->job, &pod->create_job, &pod->vm_job, &pod->disk_job};
    guint held = 0;
    gboolean good = TRUE;

    while (good && held < G_N_ELEMENTS(jobs)) {
        good = semaphore_acquire(jobs[held], deadline, "waiting for other work on the sandbox", error);
        held += good;
    }
    good = good && pod_check(pod, error) && pod_share_prepare(pod, error);
    *ret_checkpoint = good ? checkpoint_describe(pod, containers, error) : NULL;
    good = *ret_checkpoint != NULL && save_frozen(pod, directory, deadline, ret_pause_us, error);
    while (held > 0)
        semaphore_release(jobs[--held]);
    return good;
}

static gboolean checkpoint_make(Pod *pod, const GPtrArray *containers, int directory,
                                const Deadline *deadline, GError **error)
{
    g_autoptr(Checkpoint) checkpoint = NULL;
    gint64 pause_us = 0;
    const gint64 begin_us = g_get_monotonic_time();

    if (!save_in_jobs(pod, containers, directory, deadline, &checkpoint, &pause_us, error) ||
        !deadline_check(deadline, "finishing the checkpoint", error) ||
        !checkpoint_seal(directory, checkpoint, error) ||
        !deadline_check(deadline, "finishing the checkpoint", error))
        return FALSE;
    log_info(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)),
             "checkpoint of %u containers made in %" G_GINT64_FORMAT " ms, for %" G_GINT64_FORMAT
             " of which they stood still",
             containers->len, (g_get_monotonic_time() - begin_us) / 1000, pause_us / 1000);
    return TRUE;
}

gboolean sandbox_checkpoint(SandboxManager *manager, const Runtime__V1__CheckpointPodRequest *request,
                            const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, CHECKPOINT_TIMEOUT_MS);
    g_autoptr(Pod) pod = manager_find_pod(manager, request->pod_sandbox_id, error);
    g_autoptr(GPtrArray) containers = NULL;
    g_autofree char *entry = NULL;
    int directory;
    gboolean made;

    if (pod == NULL)
        return FALSE;
    if (request->n_options > 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "options: \"%s\" is not known", request->options[0]->key);
    containers = pod_check(pod, error) ? containers_choose(pod, request, error) : NULL;
    if (containers == NULL)
        return FALSE;
    directory = checkpoint_directory(request->output_path, error);
    if (directory < 0)
        return FALSE;
    made = journal_write(pod, directory, request->output_path, &entry, error) &&
           checkpoint_make(pod, containers, directory, &bounded, error);
    if (!made) {
        checkpoint_discard(directory);
        pod_explain(pod, error);
        g_prefix_error(error, "cannot save sandbox %s: ", pod->id);
    }
    journal_end(entry);
    close(directory);
    return made;
}
