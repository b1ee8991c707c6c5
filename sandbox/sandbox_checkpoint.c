/* SPDX-License-Identifier: Apache-2.0 */
/* CheckpointPod: saves a running pod at one moment (sandbox_save.c), and lets it run on. The rest, above all
 * the digests, or compression and encryption, follows when the pod runs again. Files that are packed are
 * saved below the daemon's state directory, so that no other part of the node gets them as they are, and
 * packed from there. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/string_table.h"
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_share.h"
#include "sandbox/pod/pod_start.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/sandbox.h"
#include "sandbox/sandbox_checkpoint.h"
#include "sandbox/sandbox_save.h"
#include "sandbox/saved_blocks.h"

enum {
    CHECKPOINT_TIMEOUT_MS = 30 * 60 * 1000, /* for a caller without a deadline */
    JOURNAL_MAX_BYTES = 64 << 10,
};

#define JOURNAL "checkpoints"

/* ---- what can be saved ---- */

static gboolean container_check(const Pod *pod, Container *container, GError **error)
{
    if (container->pod != pod)
        return fail(error, STATUS_INVALID_ARGUMENT, "container_ids: container %s is not of sandbox %s",
                    container->id, pod->id);
    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container_ids: container %s is not running",
                    container->id);
    return sandbox_save_check_container(container, error);
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

static void images_describe(CheckpointContainer *described, const Runtime__V1__ContainerConfig *config)
{
    for (guint i = 0; i < config->n_mounts; i++)
        if (oci_mount_is_image(config->mounts[i]))
            checkpoint_add_mount(described->images, i, g_strdup(config->mounts[i]->image->image_ref));
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
    images_describe(described, container->config);
}

static void binds_describe(Checkpoint *checkpoint, const GPtrArray *containers)
{
    for (guint i = 0; i < containers->len; i++) {
        const Container *container = containers->pdata[i];

        for (guint j = 0; j < container->config->n_mounts; j++) {
            char *name = container_volume_name(container, j);

            if (name != NULL)
                checkpoint_add_mount(((CheckpointContainer *)checkpoint->containers->pdata[i])->binds, j,
                                     name);
        }
    }
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
    g_free(checkpoint->volume_cache);
    checkpoint->volume_cache = g_strdup(pod->volume_cache);
    checkpoint->volume_locks = pod->volume_locks;
    checkpoint->request = request_describe_locked(pod, containers);
    for (guint i = 0; i < containers->len; i++)
        container_describe_locked(checkpoint, containers->pdata[i]);
    g_ptr_array_unref(checkpoint->disks);
    checkpoint->disks = checkpoint_disks_of(pod->disks);
    others_describe_locked(checkpoint, pod, containers);
    g_mutex_unlock(&pod->lock);
    if (checkpoint->share != 0)
        binds_describe(checkpoint, containers);
    if (!saved_blocks_describe(pod, containers, checkpoint, error))
        return NULL;
    return g_steal_pointer(&checkpoint);
}

CheckpointStorage sandbox_checkpoint_storage(const Settings *settings)
{
    return (CheckpointStorage){.compress = g_str_equal(settings->checkpoint.compression, "zstd"),
                               .level = settings->checkpoint.level,
                               .threads = settings->checkpoint.threads,
                               .key_files = settings->checkpoint.key_files,
                               .require_encryption = settings->checkpoint.require_encryption};
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
        sandbox_save_resume(manager, id, domains);
        unlink(path);
    }
    dir_remove_tree(scratch, NULL);
}

/* ---- the RPC ---- */

static gboolean save_in_jobs(Pod *pod, const GPtrArray *containers, int directory, const Deadline *deadline,
                             Checkpoint **ret_checkpoint, gint64 *ret_pause_us, GError **error)
{
    gboolean good;

    if (!sandbox_save_take_jobs(pod, deadline, error))
        return FALSE;
    good = pod_check(pod, error) && pod_share_prepare(pod, error);
    *ret_checkpoint = good ? checkpoint_describe(pod, containers, error) : NULL;
    good = *ret_checkpoint != NULL && sandbox_save(pod, directory, SAVE_COPY, deadline, ret_pause_us, error);
    sandbox_save_release_jobs(pod);
    return good;
}

/* made: the directory that the guest is saved to. */
static gboolean checkpoint_make(Pod *pod, const GPtrArray *containers, int directory, int made,
                                const CheckpointPacking *packing, const Deadline *deadline, GError **error)
{
    g_autoptr(Checkpoint) checkpoint = NULL;
    gint64 pause_us = 0;
    const gint64 begin_us = g_get_monotonic_time();

    if (!save_in_jobs(pod, containers, made, deadline, &checkpoint, &pause_us, error) ||
        !deadline_check(deadline, "finishing the checkpoint", error) ||
        !checkpoint_seal(directory, made, checkpoint, packing, deadline, error) ||
        !deadline_check(deadline, "finishing the checkpoint", error))
        return FALSE;
    log_info(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)),
             "checkpoint of %u containers made in %" G_GINT64_FORMAT " ms, for %" G_GINT64_FORMAT
             " of which they stood still",
             containers->len, (g_get_monotonic_time() - begin_us) / 1000, pause_us / 1000);
    return TRUE;
}

static gboolean checkpoint_make_aside(Pod *pod, const GPtrArray *containers, int directory,
                                      const CheckpointPacking *packing, const Deadline *deadline,
                                      GError **error)
{
    g_autofree char *scratch = sandbox_checkpoint_scratch(pod->manager);
    g_autofree char *path = g_build_filename(scratch, "pack-XXXXXX", NULL);
    gboolean good;
    int made;

    if (!dir_make(scratch, 0700, error))
        return FALSE;
    if (mkdtemp(path) == NULL)
        return fail_errno(error, errno, "cannot make a directory in %s", scratch);
    made = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    good = (made >= 0 || fail_errno(error, errno, "cannot open %s", path)) &&
           checkpoint_make(pod, containers, directory, made, packing, deadline, error);
    if (made >= 0)
        close(made);
    dir_remove_tree(path, NULL); /* what cannot be removed now, the next daemon removes */
    return good;
}

static gboolean checkpoint_make_packed(Pod *pod, const GPtrArray *containers, int directory,
                                       const Deadline *deadline, GError **error)
{
    g_autoptr(Settings) settings = live_settings_get(pod->manager->live);
    const CheckpointStorage storage = sandbox_checkpoint_storage(settings);
    g_autoptr(CheckpointPacking) packing = checkpoint_packing_new(&storage, error);

    if (packing == NULL)
        return FALSE;
    return checkpoint_packing_packs(packing)
               ? checkpoint_make_aside(pod, containers, directory, packing, deadline, error)
               : checkpoint_make(pod, containers, directory, directory, packing, deadline, error);
}

gboolean sandbox_checkpoint(SandboxManager *manager, const Runtime__V1__CheckpointPodRequest *request,
                            const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, CHECKPOINT_TIMEOUT_MS);
    g_autoptr(Pod) pod = manager_find_pod(manager, request->pod_sandbox_id, error);
    g_autoptr(GPtrArray) containers = NULL;
    g_autoptr(PodTurn) turn = NULL;
    g_autofree char *entry = NULL;
    int directory;
    gboolean made;

    if (pod == NULL)
        return FALSE;
    if (request->n_options > 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "options: \"%s\" is not known", request->options[0]->key);
    containers = pod_check(pod, error) ? containers_choose(pod, request, error) : NULL;
    turn = containers != NULL ? pod_turn_take(pod, POD_TURN_USE, &bounded, error) : NULL;
    if (turn == NULL)
        return FALSE;
    directory = checkpoint_directory(request->output_path, error);
    if (directory < 0)
        return FALSE;
    made = journal_write(pod, directory, request->output_path, &entry, error) &&
           checkpoint_make_packed(pod, containers, directory, &bounded, error);
    if (!made) {
        checkpoint_discard(directory);
        pod_explain(pod, error);
        g_prefix_error(error, "cannot save sandbox %s: ", pod->id);
    }
    journal_end(entry);
    close(directory);
    return made;
}
