/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/container/container_volumes.h"

#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/semaphore.h"
#include "sandbox/container/container_blocks.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/vm_pod.h"
#include "sandbox/pods/container.h"
#include "sandbox/volumes/memory_volume.h"
#include "sandbox/volumes/share.h"
#include "sandbox/volumes/userns.h"

typedef Crivirt__Agent__V1__CreateContainerRequest CreateRequest;

Crivirt__Agent__V1__Disk **container_disks(const GArray *layers, Arena *arena)
{
    Crivirt__Agent__V1__Disk **disks = arena_new0(arena, Crivirt__Agent__V1__Disk *, layers->len);

    for (guint i = 0; i < layers->len; i++) {
        disks[i] = arena_new0(arena, Crivirt__Agent__V1__Disk, 1);
        crivirt__agent__v1__disk__init(disks[i]);
        disks[i]->lun = g_array_index(layers, PodLayer, i).lun;
        if (g_array_index(layers, PodLayer, i).path != NULL)
            disks[i]->path = arena_strdup(arena, g_array_index(layers, PodLayer, i).path);
        disks[i]->serial = arena_printf(arena, GUEST_DISK_SERIAL_FORMAT, disks[i]->lun);
    }
    return disks;
}

/* ---- directories and files of the node ---- */

static gboolean mapping_equal(const Runtime__V1__IDMapping *a, const Runtime__V1__IDMapping *b)
{
    return a->host_id == b->host_id && a->container_id == b->container_id && a->length == b->length;
}

/* All volumes use the pod's mapping: the kubelet sends the same mapping with each of them. */
static gboolean mappings_check(const Runtime__V1__Mount *mount, const Runtime__V1__UserNamespace *user,
                               GError **error)
{
    gboolean same = user != NULL && mount->n_uidmappings == 1 && mount->n_gidmappings == 1;

    if (mount->n_uidmappings == 0 && mount->n_gidmappings == 0)
        return TRUE;
    same = same && mapping_equal(mount->uidmappings[0], user->uids[0]) &&
           mapping_equal(mount->gidmappings[0], user->gids[0]);
    if (!same)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "config.mounts: uidMappings and gidMappings of %s are not those of the pod's user namespace",
            mount->container_path);
    return TRUE;
}

/* Return: whether the kubelet made the volume. Nothing is mounted below such a volume later. */
static gboolean is_kubelet_volume(const char *host_path)
{
    return strstr(host_path, "/volumes/kubernetes.io~") != NULL;
}

/* The strings are the container's. */
static ShareVolume volume_describe(const Container *container, guint index, int userns_fd)
{
    const Runtime__V1__Mount *mount = container->config->mounts[index];
    gboolean on_node =
        container->pod->platform->on_node; /* a host pod has no guest between it and the node */
    /* The pod's containers write to its own emptyDirs anyway, so a read-only bind would protect nothing, and
     * all containers have to share one bind. */
    gboolean protect =
        on_node || !volume_is_empty_dir_of(mount->host_path, container->pod->config->metadata->uid);

    return (ShareVolume){
        .host_path = mount->host_path,
        .readonly = mount->readonly && protect,
        .recursive = mount->recursive_read_only && protect,
        .confined = !on_node,
        .common = !on_node && is_kubelet_volume(mount->host_path),
        .follow = mount->propagation == RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER,
        .share = mount->propagation == RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL,
        .userns_fd = mount->n_uidmappings > 0 ? userns_fd : -1,
    };
}

static gboolean volume_bind(Container *container, guint index, int userns_fd, Arena *arena,
                            OciMountSource *ret_source, GError **error)
{
    const Runtime__V1__Mount *mount = container->config->mounts[index];
    const ShareVolume volume = volume_describe(container, index, userns_fd);
    ShareBind bind;

    if (!share_bind(container->pod->share_dir, container->guest_id, index, &volume, &bind, error))
        return FALSE;
    ret_source->path = arena_printf(arena, GUEST_SHARE_DIR "/%s", bind.name);
    ret_source->node_readonly =
        volume.readonly && (bind.nested || volume.follow) && !mount->recursive_read_only;
    g_free(bind.name);
    return TRUE;
}

char *container_volume_name(const Container *container, guint index)
{
    return share_bind_name(container->pod->share_dir, container->guest_id, index);
}

gboolean container_volume_bind_again(Container *container, guint index, const char *name, GError **error)
{
    const Runtime__V1__UserNamespace *user = oci_userns(container->pod->config);
    const Runtime__V1__Mount *mount = container->config->mounts[index];
    ShareVolume volume;
    int userns_fd = -1;
    gboolean good;

    if (!oci_mount_check(mount, FALSE, error) || !mappings_check(mount, user, error) ||
        (mount->n_uidmappings > 0 && !userns_open(user, &userns_fd, error)))
        return FALSE;
    volume = volume_describe(container, index, userns_fd);
    good = share_bind_again(container->pod->share_dir, container->guest_id, index, name, &volume, error);
    if (userns_fd >= 0)
        close(userns_fd);
    return good;
}

/* Return: whether the mount is bound through the share. Images, block devices and volumes in the guest's
 * memory are not. */
static gboolean is_bound_through_share(const Container *container, const Runtime__V1__Mount *mount,
                                       const OciMountSource *source)
{
    return source->path == NULL && !oci_mount_is_image(mount) && !container_mount_is_block(container, mount);
}

static gboolean volumes_bind(Container *container, const Deadline *deadline, Arena *arena,
                             OciMountSource *sources, GError **error)
{
    const Runtime__V1__ContainerConfig *config = container->config;
    const Runtime__V1__UserNamespace *user = oci_userns(container->pod->config);
    gboolean any = FALSE;
    gboolean mapped = FALSE;
    gboolean good = TRUE;
    int userns_fd = -1;

    for (guint i = 0; good && i < config->n_mounts; i++) {
        good = oci_mount_check(config->mounts[i], container->pod->platform->on_node, error) &&
               mappings_check(config->mounts[i], user, error);
        any = any || is_bound_through_share(container, config->mounts[i], &sources[i]);
        mapped = mapped || config->mounts[i]->n_uidmappings > 0;
    }
    if (!good || (any && !container->pod->platform->attach_share(container->pod, deadline, error)) ||
        (mapped && !userns_open(user, &userns_fd, error)))
        return FALSE;
    good = semaphore_acquire(&container->pod->disk_job, deadline, "waiting to bind volumes", error);
    if (good) {
        for (guint i = 0; good && i < config->n_mounts; i++)
            if (is_bound_through_share(container, config->mounts[i], &sources[i]))
                good = volume_bind(container, i, userns_fd, arena, &sources[i], error);
        semaphore_release(&container->pod->disk_job);
    }
    if (userns_fd >= 0)
        close(userns_fd);
    return good;
}

/* ---- images ---- */

/* Adds the image's layers to those of the container, so that after a restart they are pinned with the layers
 * of its root. */
static void container_add_layers(Container *container, const Image *image)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new();

    for (char **id = container->diff_ids; *id != NULL; id++)
        g_ptr_array_add(ids, *id);
    for (guint i = 0; i < image->layers->len; i++)
        g_ptr_array_add(ids, g_strdup(((const ImageLayer *)image->layers->pdata[i])->key));
    g_ptr_array_add(ids, NULL);
    g_free(container->diff_ids);
    container->diff_ids = (char **)g_ptr_array_steal(ids, NULL);
}

/* Sets a string of a message that protobuf-c frees. protobuf-c's empty string is a constant, which must not
 * be freed. */
static void message_set_string(char **place, const char *value)
{
    if (*place != protobuf_c_empty_string)
        g_free(*place);
    *place = strdup(value); /* NOLINT(bugprone-unused-return-value): freed by protobuf-c */
}

void container_image_volume_hold(Container *container, guint index, Image *image)
{
    image_service_pin(container->pod->manager->images, container->id, image);
    message_set_string(&container->config->mounts[index]->image->image_ref, image->id);
}

static gboolean image_volume_attach(Container *container, guint index, const Deadline *deadline, Arena *arena,
                                    Crivirt__Agent__V1__ImageVolume *volume, GError **error)
{
    Runtime__V1__Mount *mount = container->config->mounts[index];
    SandboxManager *manager = container->pod->manager;
    g_autoptr(Image) image = image_service_find(manager->images, mount->image->image, error);
    g_autoptr(GArray) luns = NULL;

    if (image == NULL) {
        if (error == NULL || *error == NULL)
            fail(error, STATUS_NOT_FOUND, "image %s of the volume at %s is not on this node",
                 mount->image->image, mount->container_path);
        return FALSE;
    }
    container_image_volume_hold(container, index, image);
    container_add_layers(container, image);
    if (!container->pod->platform->attach_layers(container->pod, image->layers, deadline, &luns, error))
        return FALSE;
    volume->index = index;
    volume->sub_path = mount->image_sub_path;
    volume->n_layers = luns->len;
    volume->layers = container_disks(luns, arena);
    return TRUE;
}

static gboolean image_volumes_attach(Container *container, const Deadline *deadline, Arena *arena,
                                     OciMountSource *sources, CreateRequest *create, GError **error)
{
    const Runtime__V1__ContainerConfig *config = container->config;

    create->image_volumes = arena_new0(arena, Crivirt__Agent__V1__ImageVolume *, config->n_mounts + 1);
    for (guint i = 0; i < config->n_mounts; i++) {
        Crivirt__Agent__V1__ImageVolume *volume;

        if (!oci_mount_is_image(config->mounts[i]))
            continue;
        volume = arena_new0(arena, Crivirt__Agent__V1__ImageVolume, 1);
        crivirt__agent__v1__image_volume__init(volume);
        if (!image_volume_attach(container, i, deadline, arena, volume, error))
            return FALSE;
        sources[i].path = arena_printf(arena, GUEST_CONTAINERS_DIR "/%s/v%u", container->id, i);
        create->image_volumes[create->n_image_volumes++] = volume;
    }
    return TRUE;
}

/* ---- memory ---- */

static void create_add_memory_volume(Container *container, guint index, const MemoryVolume *volume,
                                     Arena *arena, OciMountSource *source, CreateRequest *create)
{
    Crivirt__Agent__V1__MemoryVolume *message = arena_new0(arena, Crivirt__Agent__V1__MemoryVolume, 1);

    crivirt__agent__v1__memory_volume__init(message);
    message->index = index;
    message->id = arena_strdup(arena, volume->id);
    message->size_bytes = volume->size_bytes;
    message->size_inodes = volume->size_inodes;
    message->mode = volume->mode;
    message->uid = volume->uid;
    message->gid = volume->gid;
    message->sub_path = arena_strdup(arena, volume->sub_path);
    create->memory_volumes[create->n_memory_volumes++] = message;
    source->path = arena_printf(arena, GUEST_CONTAINERS_DIR "/%s/v%u", container->id, index);
}

/* A pod in a user namespace gets none, because the guest's kernel (6.1) has no id-mapped mounts of tmpfs. */
static gboolean memory_volumes_attach(Container *container, Arena *arena, OciMountSource *sources,
                                      CreateRequest *create, GError **error)
{
    const Runtime__V1__ContainerConfig *config = container->config;

    if (container->pod->platform->on_node)
        return TRUE;
    create->memory_volumes = arena_new0(arena, Crivirt__Agent__V1__MemoryVolume *, config->n_mounts + 1);
    for (guint i = 0; i < config->n_mounts; i++) {
        g_auto(MemoryVolume) volume = {0};
        GError *problem = NULL;

        if (oci_mount_is_image(config->mounts[i]) || oci_userns(container->pod->config) != NULL)
            continue;
        if (memory_volume_find(config->mounts[i]->host_path, &volume, &problem))
            create_add_memory_volume(container, i, &volume, arena, &sources[i], create);
        if (problem != NULL) {
            g_propagate_error(error, problem);
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- volumes that the image declares ---- */

static gboolean is_mounted_at(const Runtime__V1__ContainerConfig *config, const char *path)
{
    for (size_t i = 0; i < config->n_mounts; i++)
        if (g_str_equal(config->mounts[i]->container_path, path))
            return TRUE;
    return FALSE;
}

/* Makes each a writable directory of the container that begins with the image's files at that place. It is
 * writable even when the root is read-only. */
static void anonymous_volumes_add(const Container *container, const Image *image, Arena *arena,
                                  ContainerVolumes *volumes, CreateRequest *create)
{
    guint count = g_strv_length(image->volumes);

    volumes->anonymous = arena_new0(arena, OciAnonymousVolume, count + 1);
    create->anonymous_volumes = arena_new0(arena, char *, count + 1);
    for (guint i = 0; i < count; i++) {
        g_autofree char *path = g_canonicalize_filename(image->volumes[i], "/");

        if (*image->volumes[i] != '/' || g_str_equal(path, "/") || is_mounted_at(container->config, path))
            continue;
        volumes->anonymous[volumes->n_anonymous++] = (OciAnonymousVolume){
            .destination = arena_strdup(arena, path),
            .source = arena_printf(arena, GUEST_CONTAINERS_DIR "/%s/a%zu", container->id,
                                   create->n_anonymous_volumes),
        };
        create->anonymous_volumes[create->n_anonymous_volumes++] = arena_strdup(arena, path);
    }
}

static Crivirt__Agent__V1__IdMapping **mappings_copy(Runtime__V1__IDMapping *const *from, size_t count,
                                                     Arena *arena)
{
    Crivirt__Agent__V1__IdMapping **copies = arena_new0(arena, Crivirt__Agent__V1__IdMapping *, count);

    for (size_t i = 0; i < count; i++) {
        copies[i] = arena_new0(arena, Crivirt__Agent__V1__IdMapping, 1);
        crivirt__agent__v1__id_mapping__init(copies[i]);
        copies[i]->container_id = from[i]->container_id;
        copies[i]->guest_id = from[i]->host_id;
        copies[i]->size = from[i]->length;
    }
    return copies;
}

gboolean container_volumes_attach(Container *container, const Image *image, const Deadline *deadline,
                                  Arena *arena, ContainerVolumes *ret_volumes, CreateRequest *create,
                                  GError **error)
{
    const Runtime__V1__UserNamespace *user = oci_userns(container->pod->config);
    ContainerVolumes volumes = {
        .sources = arena_new0(arena, OciMountSource, container->config->n_mounts + 1),
    };

    if (!container_blocks_attach(container, deadline, arena, &volumes.blocks, &volumes.n_blocks, error) ||
        !memory_volumes_attach(container, arena, volumes.sources, create, error) ||
        !volumes_bind(container, deadline, arena, volumes.sources, error) ||
        !image_volumes_attach(container, deadline, arena, volumes.sources, create, error))
        return FALSE;
    anonymous_volumes_add(container, image, arena, &volumes, create);
    if (user != NULL) {
        create->n_uid_mappings = user->n_uids;
        create->uid_mappings = mappings_copy(user->uids, user->n_uids, arena);
        create->n_gid_mappings = user->n_gids;
        create->gid_mappings = mappings_copy(user->gids, user->n_gids, arena);
    }
    *ret_volumes = volumes;
    return TRUE;
}

/* ---- messages ---- */

/* Replaces path in the text wherever it is not the beginning of a longer name. */
static void path_replace(GString *text, const char *path, const char *by)
{
    const gsize length = strlen(path);
    const char *found;
    gsize from = 0;

    while ((found = strstr(text->str + from, path)) != NULL) {
        gsize at = (gsize)(found - text->str);

        from = at + length;
        if (g_ascii_isalnum(text->str[from]))
            continue;
        g_string_erase(text, (gssize)at, (gssize)length);
        g_string_insert(text, (gssize)at, by);
        from = at + strlen(by);
    }
}

void container_volumes_explain(const Container *container, const ContainerVolumes *volumes, GError **error)
{
    g_autoptr(GString) text = NULL;

    if (error == NULL || *error == NULL)
        return;
    text = g_string_new((*error)->message);
    for (size_t i = 0; i < container->config->n_mounts; i++) {
        const Runtime__V1__Mount *mount = container->config->mounts[i];

        if (volumes->sources[i].path != NULL)
            path_replace(text, volumes->sources[i].path,
                         oci_mount_is_image(mount) ? mount->image->image : mount->host_path);
    }
    g_free((*error)->message);
    (*error)->message = g_string_free(g_steal_pointer(&text), FALSE);
}
