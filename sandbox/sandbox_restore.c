/* SPDX-License-Identifier: Apache-2.0 */
/* RestorePod: a new pod whose guest continues from a checkpoint. Its containers are CREATED; their processes
 * are frozen in the guest until StartContainer. */

#include <string.h>

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "common/string_table.h"
#include "sandbox/checkpoint/checkpoint_archive.h"
#include "sandbox/container/container_blocks.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_setup.h"
#include "sandbox/pod/pod_share.h"
#include "sandbox/pod/pod_start.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/cri_compare.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "sandbox/sandbox_checkpoint.h"
#include "sandbox/sandbox_start.h"
#include "sandbox/saved_blocks.h"

typedef Runtime__V1__RestorePodRequest RestoreRequest;

enum { UNDO_TIMEOUT_MS = 60 * 1000 };

/* A container of the request with what the checkpoint and this node have for it. */
typedef struct {
    const Runtime__V1__ContainerConfig *config;
    const Runtime__V1__ContainerConfig *saved_config;
    const CheckpointContainer *saved;
    Image *image;
    GPtrArray *mounted;   /* Image: those of saved->images, in their order */
    Container *container; /* once it is made */
} Restored;

static void restored_clear(gpointer data)
{
    Restored *restored = data;

    image_unref(restored->image);
    g_ptr_array_unref(restored->mounted);
    container_unref(restored->container);
}

/* ---- the request ---- */

static gboolean name_check(const Runtime__V1__ContainerConfig *config, size_t number, GHashTable *names,
                           GError **error)
{
    if (config->metadata == NULL || *config->metadata->name == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "container_configs[%zu].metadata.name is missing",
                    number);
    if (strstr(config->log_path, "..") != NULL)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "container_configs[%zu].log_path: \"%s\" leads out of the pod's log directory", number,
                    config->log_path);
    if (!g_hash_table_add(names, config->metadata->name))
        return fail(error, STATUS_INVALID_ARGUMENT, "container_configs[%zu].metadata.name: %s comes twice",
                    number, config->metadata->name);
    return TRUE;
}

static gboolean request_check(const RestoreRequest *request, GError **error)
{
    g_autoptr(GHashTable) names = string_table_new(NULL, NULL);

    if (request->n_options > 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "options: \"%s\" is not known", request->options[0]->key);
    if (request->n_container_configs == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "container_configs: the list is empty");
    for (size_t i = 0; i < request->n_container_configs; i++)
        if (!name_check(request->container_configs[i], i, names, error))
            return FALSE;
    return TRUE;
}

/* ---- the containers of the request and of the checkpoint ---- */

static const CheckpointContainer *saved_find(const Checkpoint *checkpoint, const char *name)
{
    for (guint i = 0; i < checkpoint->containers->len; i++) {
        const CheckpointContainer *saved = checkpoint->containers->pdata[i];

        if (g_str_equal(saved->name, name))
            return saved;
    }
    return NULL;
}

static const Runtime__V1__ContainerConfig *saved_config_find(const Checkpoint *checkpoint, const char *name)
{
    for (size_t i = 0; i < checkpoint->request->n_container_configs; i++) {
        const Runtime__V1__ContainerConfig *config = checkpoint->request->container_configs[i];

        if (g_str_equal(config->metadata->name, name))
            return config;
    }
    return NULL;
}

/* What may differ is applied to the restored container or has no meaning for its processes. */
static gboolean config_check(const Restored *restored, GError **error)
{
    static const char *const may_differ[] = {
        "config.metadata",
        "config.image",
        "config.labels",
        "config.annotations",
        "config.log_path",
        "config.linux.resources",
        "config.mounts.host_path",
        "config.mounts.image",
        "config.devices.host_path",
        NULL,
    };
    g_autofree char *difference =
        cri_difference(&restored->config->base, &restored->saved_config->base, "config", may_differ);

    return difference == NULL || fail(error, STATUS_FAILED_PRECONDITION,
                                      "container %s: %s is not that of the container in the checkpoint",
                                      restored->saved->name, difference);
}

/* Return: the image, the caller's; NULL with the error. */
static Image *image_find(SandboxManager *manager, const Runtime__V1__ImageSpec *spec, GError **error)
{
    const char *pulled = *spec->user_specified_image != '\0' ? spec->user_specified_image : spec->image;
    Image *image = image_service_find(manager->images, spec->image, error);

    if (image == NULL && (error == NULL || *error == NULL))
        fail(error, STATUS_NOT_FOUND, "image %s is not on this node: pull it first (crivirt pull %s)",
             spec->image, pulled);
    return image;
}

static gboolean image_check(SandboxManager *manager, Restored *restored, GError **error)
{
    const char *name = restored->config->image != NULL ? restored->config->image->image : "";
    const CheckpointContainer *saved = restored->saved;

    if (*name == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "container %s: config.image.image is missing",
                    saved->name);
    restored->image = image_find(manager, restored->config->image, error);
    if (restored->image == NULL) {
        g_prefix_error(error, "container %s: ", saved->name);
        return FALSE;
    }
    return g_str_equal(restored->image->id, saved->image_id) ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "container %s: image %s is %s, and the container in the checkpoint has %s", saved->name, name,
                restored->image->id, saved->image_id);
}

/* The mount of the request has the image that the saved guest has there. */
static gboolean mounted_image_find(SandboxManager *manager, Restored *restored, const CheckpointMount *saved,
                                   GError **error)
{
    const Runtime__V1__Mount *mount =
        saved->index < restored->config->n_mounts ? restored->config->mounts[saved->index] : NULL;
    Image *image;

    if (mount == NULL || !oci_mount_is_image(mount))
        return fail(
            error, STATUS_FAILED_PRECONDITION,
            "container %s: config.mounts[%u].image is missing, and the container in the checkpoint has "
            "the image %s there",
            restored->saved->name, saved->index, saved->name);
    image = image_find(manager, mount->image, error);
    if (image == NULL) {
        g_prefix_error(error, "container %s: config.mounts[%u].image: ", restored->saved->name, saved->index);
        return FALSE;
    }
    g_ptr_array_add(restored->mounted, image);
    return g_str_equal(image->id, saved->name) ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "container %s: config.mounts[%u].image: image %s is %s, and the container in the checkpoint "
                "has %s at %s",
                restored->saved->name, saved->index, mount->image->image, image->id, saved->name,
                mount->container_path);
}

static gboolean mounted_images_match(SandboxManager *manager, Restored *restored, GError **error)
{
    const GPtrArray *saved = restored->saved->images;
    guint next = 0;

    for (guint i = 0; i < saved->len; i++)
        if (!mounted_image_find(manager, restored, saved->pdata[i], error))
            return FALSE;
    for (guint i = 0; i < restored->config->n_mounts; i++) {
        if (!oci_mount_is_image(restored->config->mounts[i]))
            continue;
        if (next == saved->len || ((CheckpointMount *)saved->pdata[next++])->index != i)
            return fail(error, STATUS_FAILED_PRECONDITION,
                        "container %s: config.mounts[%u].image: the container in the checkpoint has no image "
                        "at %s",
                        restored->saved->name, i, restored->config->mounts[i]->container_path);
    }
    return TRUE;
}

static gboolean container_match(SandboxManager *manager, const Checkpoint *checkpoint, Restored *restored,
                                GArray *blocks, GError **error)
{
    const char *name = restored->config->metadata->name;

    restored->saved = saved_find(checkpoint, name);
    restored->saved_config = saved_config_find(checkpoint, name);
    if (restored->saved == NULL || restored->saved_config == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION, "the checkpoint has no container %s", name);
    return image_check(manager, restored, error) && config_check(restored, error) &&
           mounted_images_match(manager, restored, error) &&
           saved_blocks_match(manager, restored->saved, restored->config, blocks, error);
}

/* Adds the block devices to blocks (BlockAttachment). Return: an array of Restored in the order of the
 * request, the caller's; NULL with the error. */
static GArray *containers_match(SandboxManager *manager, const RestoreRequest *request,
                                const Checkpoint *checkpoint, GArray *blocks, GError **error)
{
    g_autoptr(GArray) all = g_array_new(FALSE, TRUE, sizeof(Restored));

    g_array_set_clear_func(all, restored_clear);
    for (size_t i = 0; i < request->n_container_configs; i++) {
        const Restored restored = {
            .config = request->container_configs[i],
            .mounted = g_ptr_array_new_with_free_func((GDestroyNotify)image_unref),
        };

        g_array_append_val(all, restored);
        if (!container_match(manager, checkpoint, &g_array_index(all, Restored, i), blocks, error))
            return NULL;
    }
    if (request->n_container_configs != checkpoint->containers->len) {
        fail(error, STATUS_FAILED_PRECONDITION,
             "the checkpoint has %u containers, and container_configs has %zu", checkpoint->containers->len,
             request->n_container_configs);
        return NULL;
    }
    return g_steal_pointer(&all);
}

/* ---- the pod ---- */

static const Runtime__V1__LinuxSandboxSecurityContext *
security_of(const Runtime__V1__PodSandboxConfig *config)
{
    return config->linux != NULL ? config->linux->security_context : NULL;
}

static gboolean pod_match(const RestoreRequest *request, const Checkpoint *checkpoint, GError **error)
{
    static const char *const may_differ[] = {NULL};
    const Runtime__V1__LinuxSandboxSecurityContext *wanted = security_of(request->config);
    const Runtime__V1__LinuxSandboxSecurityContext *saved = security_of(checkpoint->request->config);
    g_autofree char *difference =
        cri_difference(wanted != NULL ? &wanted->base : NULL, saved != NULL ? &saved->base : NULL,
                       "config.linux.security_context", may_differ);

    return difference == NULL ||
           fail(error, STATUS_FAILED_PRECONDITION, "%s is not that of the pod in the checkpoint", difference);
}

/* A checkpoint that is compressed could have more memory than its files. */
static gboolean memory_check(const VmBounds *bounds, const CheckpointSize *size, GError **error)
{
    const guint64 most =
        bounds->max_memory_bytes != 0 ? bounds->max_memory_bytes : node_capacity().memory_bytes;

    return size->memory_bytes <= most ||
           fail(error, STATUS_RESOURCE_EXHAUSTED,
                "the VM in the checkpoint has %" G_GUINT64_FORMAT
                " MiB of memory, and a VM of this pod may have %" G_GUINT64_FORMAT,
                size->memory_bytes >> 20, most >> 20);
}

/* The VM begins with the size that it was saved with. */
static gboolean pod_request_parse(SandboxManager *manager, const RestoreRequest *request,
                                  const Checkpoint *checkpoint, PodRequest *ret_parsed, GError **error)
{
    Runtime__V1__RunPodSandboxRequest run = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    const CheckpointSize *size = &checkpoint->size;

    run.config = request->config;
    run.runtime_handler = request->runtime_handler;
    if (!sandbox_request_parse(manager, &run, ret_parsed, error))
        return FALSE;
    if (handler_is_host(ret_parsed->handler))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "runtime_handler: \"%s\" runs pods on the node itself, and a checkpoint is of a virtual "
                    "machine",
                    request->runtime_handler);
    ret_parsed->checkpoint = checkpoint;
    ret_parsed->size = (VmSize){(guint)size->boot_vcpus, (guint)size->vcpus, (guint)size->max_vcpus,
                                size->boot_memory_bytes, size->memory_bytes, size->max_memory_bytes};
    return memory_check(&ret_parsed->settings.bounds, size, error) && pod_match(request, checkpoint, error) &&
           pod_start_check_checkpoint(manager, ret_parsed, error);
}

/* ---- the containers ---- */

static gboolean container_add(Pod *pod, Restored *restored, GError **error)
{
    const CheckpointContainer *saved = restored->saved;
    g_autofree char *id = id_new();
    Container *container = container_new(pod, id, saved->id, cri_dup(&restored->config->base),
                                         saved->image_id, saved->layers, time_now_ns());

    restored->container = container;
    container->uid = saved->uid;
    container->gid = saved->gid;
    container->stop_signal = (gint32)saved->stop_signal;
    container->state = CONTAINER_CREATED_STATE;
    g_array_append_vals(container->groups, saved->groups->data, saved->groups->len);
    container_blocks_restore(container);
    image_service_pin(pod->manager->images, container->id, restored->image);
    for (guint i = 0; i < restored->mounted->len; i++)
        container_image_volume_hold(container, ((CheckpointMount *)saved->images->pdata[i])->index,
                                    restored->mounted->pdata[i]);
    return manager_add_container(pod->manager, container, error) && container_save(container, error);
}

/* The limits of the request, where they are not those of the checkpoint. */
static gboolean container_limit(Restored *restored, const Deadline *deadline, GError **error)
{
    static const char *const none[] = {NULL};
    const Runtime__V1__LinuxContainerConfig *wanted = restored->config->linux;
    const Runtime__V1__LinuxContainerConfig *saved = restored->saved_config->linux;
    Runtime__V1__UpdateContainerResourcesRequest update =
        RUNTIME__V1__UPDATE_CONTAINER_RESOURCES_REQUEST__INIT;
    g_autofree char *difference = NULL;

    if (wanted == NULL || wanted->resources == NULL)
        return TRUE;
    difference =
        cri_difference(&wanted->resources->base,
                       saved != NULL && saved->resources != NULL ? &saved->resources->base : NULL, "", none);
    if (difference == NULL)
        return TRUE;
    update.container_id = restored->container->id;
    update.linux = wanted->resources;
    return container_update(restored->container->pod->manager, &update, deadline, error);
}

/* Two mounts that were one volume are one again, because the guest has the same files there. */
static gboolean volume_is_one(GHashTable *sources, const Restored *restored, const CheckpointMount *bind,
                              GError **error)
{
    const char *path = restored->config->mounts[bind->index]->host_path;
    const char *other = g_hash_table_lookup(sources, bind->name);

    if (other == NULL)
        g_hash_table_insert(sources, bind->name, (gpointer)path);
    return other == NULL || g_str_equal(other, path) ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "container %s: config.mounts[%u].host_path is %s, and the volume in the checkpoint is also "
                "that "
                "of another mount, which has %s",
                restored->saved->name, bind->index, path, other);
}

static gboolean volumes_bind_again(gpointer data, GError **error)
{
    const GArray *all = data;
    g_autoptr(GHashTable) sources = string_table_new(NULL, NULL);

    for (guint i = 0; i < all->len; i++) {
        const Restored *restored = &g_array_index(all, Restored, i);

        for (guint j = 0; j < restored->saved->binds->len; j++) {
            const CheckpointMount *bind = restored->saved->binds->pdata[j];

            if (bind->index >= restored->config->n_mounts)
                return fail(error, STATUS_DATA_LOSS, "container %s has no mount %u, which the checkpoint has",
                            restored->saved->name, bind->index);
            if (!volume_is_one(sources, restored, bind, error) ||
                !container_volume_bind_again(restored->container, bind->index, bind->name, error))
                return FALSE;
        }
    }
    return TRUE;
}

static gboolean volumes_add(Pod *pod, const Checkpoint *checkpoint, GArray *all, const Deadline *deadline,
                            GError **error)
{
    return checkpoint->share == 0 || pod_share_restore(pod, checkpoint->share, checkpoint->volumes_fd,
                                                       volumes_bind_again, all, deadline, error);
}

static gboolean containers_add(Pod *pod, const Checkpoint *checkpoint, GArray *all, const Deadline *deadline,
                               GError **error)
{
    for (guint i = 0; i < all->len; i++)
        if (!container_add(pod, &g_array_index(all, Restored, i), error))
            return FALSE;
    if (!volumes_add(pod, checkpoint, all, deadline, error) ||
        !pod_delete_unsaved(pod, checkpoint, deadline, error))
        return FALSE;
    if (!pod->platform->fit(pod, NULL, "config.linux.resources", FALSE, deadline, error))
        return FALSE;
    for (guint i = 0; i < all->len; i++)
        if (!container_limit(&g_array_index(all, Restored, i), deadline, error))
            return FALSE;
    return TRUE;
}

/* ---- the RPC ---- */

static void pod_undo(Pod *pod)
{
    Deadline deadline = deadline_in_ms(UNDO_TIMEOUT_MS);
    g_autoptr(GError) error = NULL;

    if (!sandbox_remove(pod->manager, pod->id, &deadline, &error))
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot undo a failed restore: %s", error->message);
}

static gboolean restore_pod(SandboxManager *manager, const PodRequest *request, GArray *all,
                            const Deadline *deadline, Pod **ret_pod, GError **error)
{
    g_autoptr(Pod) pod = NULL;
    gboolean good = sandbox_start_new(manager, request, deadline, &pod, error);

    if (!good)
        return FALSE;
    good = containers_add(pod, request->checkpoint, all, deadline, error);
    if (!good) {
        pod_explain(pod, error);
        pod_undo(pod);
        return FALSE;
    }
    *ret_pod = g_steal_pointer(&pod);
    return TRUE;
}

static void response_fill(const Pod *pod, const GArray *all, Arena *arena,
                          Runtime__V1__RestorePodResponse *response)
{
    response->pod_sandbox_id = arena_strdup(arena, pod->id);
    response->n_restored_containers = all->len;
    response->restored_containers = arena_new0(arena, Runtime__V1__RestoredContainer *, all->len);
    for (guint i = 0; i < all->len; i++) {
        const Restored *restored = &g_array_index(all, Restored, i);
        Runtime__V1__RestoredContainer *answer = arena_new0(arena, Runtime__V1__RestoredContainer, 1);

        runtime__v1__restored_container__init(answer);
        answer->name = arena_strdup(arena, restored->saved->name);
        answer->container_id = arena_strdup(arena, restored->container->id);
        response->restored_containers[i] = answer;
    }
}

static gboolean restore_from(SandboxManager *manager, const RestoreRequest *request,
                             const Checkpoint *checkpoint, const Deadline *deadline, Arena *arena,
                             Runtime__V1__RestorePodResponse *ret_response, GError **error)
{
    g_auto(PodRequest) parsed = {0};
    g_autoptr(GArray) all = NULL;
    g_autoptr(GArray) blocks = saved_blocks_new(); /* their holds end when the pod has the disks */
    g_autoptr(Pod) pod = NULL;

    if (!pod_request_parse(manager, request, checkpoint, &parsed, error))
        return FALSE;
    parsed.blocks = blocks;
    all = containers_match(manager, request, checkpoint, blocks, error);
    if (all == NULL || !restore_pod(manager, &parsed, all, deadline, &pod, error))
        return FALSE;
    for (guint i = 0; i < all->len; i++)
        container_announce(g_array_index(all, Restored, i).container, EVENT(CREATED));
    log_info(LOG_FIELDS("sandbox", pod->id, "pod", pod_name(pod)), "restored with %u containers", all->len);
    response_fill(pod, all, arena, ret_response);
    return TRUE;
}

gboolean sandbox_restore(SandboxManager *manager, const RestoreRequest *request, const Deadline *deadline,
                         Arena *arena, Runtime__V1__RestorePodResponse *ret_response, GError **error)
{
    g_autoptr(Settings) settings = live_settings_get(manager->live);
    const CheckpointStorage storage = sandbox_checkpoint_storage(settings);
    g_autoptr(Checkpoint) checkpoint = NULL;
    g_autofree char *scratch = NULL;

    if (!request_check(request, error))
        return FALSE;
    scratch = sandbox_checkpoint_scratch(manager);
    checkpoint = checkpoint_open_any(request->checkpoint_path, &storage, scratch, deadline, error);
    if (checkpoint == NULL)
        return FALSE;
    if (restore_from(manager, request, checkpoint, deadline, arena, ret_response, error))
        return TRUE;
    g_prefix_error(error, "cannot restore the pod from %s: ", request->checkpoint_path);
    return FALSE;
}
