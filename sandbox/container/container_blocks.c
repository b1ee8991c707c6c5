/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/container/container_blocks.h"

#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/log.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/host/block_device.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/vm_pod.h"
#include "sandbox/pods/container.h"

enum { FIND_TIMEOUT_MS = 20 * 1000 };

/* One of them as the CRI asks for it. */
typedef struct {
    const char *host_path;
    const char *container_path;
    const char *permissions;
    gboolean is_mount;
    guint index; /* in the configuration's devices or mounts */
    BlockDevice device;
} Wish;

static gboolean is_readonly(const Wish *wish)
{
    return strchr(wish->permissions, 'w') == NULL;
}

gboolean container_mount_is_block(const Container *container, const Runtime__V1__Mount *mount)
{
    BlockDevice device;

    return !container->pod->platform->on_node && !oci_mount_is_image(mount) &&
           block_device_find(mount->host_path, FALSE, &device);
}

/* A regular file is a disk where a device is asked for; as a mount it is a file. */
static GArray *wishes_collect(const Container *container)
{
    const Runtime__V1__ContainerConfig *config = container->config;
    GArray *wishes = g_array_new(FALSE, FALSE, sizeof(Wish));

    /* On the node they are what they are. */
    if (container->pod->platform->on_node)
        return wishes;
    for (guint i = 0; i < config->n_devices; i++) {
        const Runtime__V1__Device *device = config->devices[i];
        Wish wish = {device->host_path, device->container_path,
                     *device->permissions != '\0' ? device->permissions : "rwm", FALSE, i};

        if (block_device_find(device->host_path, TRUE, &wish.device))
            g_array_append_val(wishes, wish);
    }
    for (guint i = 0; i < config->n_mounts; i++) {
        const Runtime__V1__Mount *mount = config->mounts[i];
        Wish wish = {mount->host_path, mount->container_path, mount->readonly ? "rm" : "rwm", TRUE, i};

        if (container_mount_is_block(container, mount) &&
            block_device_find(mount->host_path, FALSE, &wish.device))
            g_array_append_val(wishes, wish);
    }
    return wishes;
}

static void keys_set(Container *container, const GArray *wishes)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new();

    for (guint i = 0; i < wishes->len; i++) {
        const Wish *wish = &g_array_index(wishes, Wish, i);

        g_ptr_array_add(keys, block_device_key(&wish->device, is_readonly(wish)));
    }
    g_ptr_array_add(keys, NULL);
    g_mutex_lock(&container->pod->lock);
    g_strfreev(container->blocks);
    container->blocks = (char **)g_ptr_array_steal(keys, NULL);
    g_mutex_unlock(&container->pod->lock);
}

void container_blocks_restore(Container *container)
{
    g_autoptr(GArray) wishes = wishes_collect(container);

    keys_set(container, wishes);
}

/* ---- in the guest ---- */

static gboolean find_in_guest(Container *container, const GArray *disks, const Deadline *deadline,
                              Arena *arena, OciBlockDevice *blocks, GError **error)
{
    Crivirt__Agent__V1__FindDisksRequest find = CRIVIRT__AGENT__V1__FIND_DISKS_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, FIND_TIMEOUT_MS);
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);
    g_autoptr(AgentFindDisksResponse) response = NULL;
    gboolean good;

    if (agent == NULL)
        return FALSE;
    find.n_disks = disks->len;
    find.disks = container_disks(disks, arena);
    if (!agent_find_disks(agent, &find, &bounded, &response, error))
        return FALSE;
    good = response->n_numbers == disks->len ||
           fail(error, STATUS_INTERNAL, "the guest's agent named %zu disks, not %u", response->n_numbers,
                disks->len);
    for (guint i = 0; good && i < disks->len; i++) {
        blocks[i].major = response->numbers[i]->major;
        blocks[i].minor = response->numbers[i]->minor;
    }
    return good;
}

/* ---- attaching ---- */

static gboolean wish_check(const Wish *wish, const Runtime__V1__UserNamespace *user, GError **error)
{
    if (*wish->container_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config: the container's path \"%s\" of %s is not absolute", wish->container_path,
                    wish->host_path);
    if (user != NULL)
        return fail(error, STATUS_UNIMPLEMENTED,
                    "config: the block device %s cannot be given to a pod in a user namespace",
                    wish->host_path);
    return TRUE;
}

static OciBlockDevice block_of(const Wish *wish, Arena *arena)
{
    return (OciBlockDevice){
        .path = arena_strdup(arena, wish->container_path),
        .permissions = arena_strdup(arena, wish->permissions),
        .mode = wish->device.mode,
        .uid = wish->device.uid,
        .gid = wish->device.gid,
        .is_mount = wish->is_mount,
        .index = wish->index,
    };
}

static gboolean attach_all(Container *container, const GArray *wishes, const Deadline *deadline, Arena *arena,
                           OciBlockDevice *blocks, GArray *disks, GError **error)
{
    const Runtime__V1__UserNamespace *user = oci_userns(container->pod->config);

    for (guint i = 0; i < wishes->len; i++) {
        const Wish *wish = &g_array_index(wishes, Wish, i);
        PodLayer disk = {0};

        if (!wish_check(wish, user, error) ||
            !vm_pod_attach_block(container->pod, wish->host_path, &wish->device, is_readonly(wish), deadline,
                                 &disk.lun, error))
            return FALSE;
        g_array_append_val(disks, disk);
        blocks[i] = block_of(wish, arena);
    }
    return TRUE;
}

gboolean container_blocks_attach(Container *container, const Deadline *deadline, Arena *arena,
                                 OciBlockDevice **ret_blocks, guint *ret_n_blocks, GError **error)
{
    g_autoptr(GArray) wishes = wishes_collect(container);
    g_autoptr(GArray) disks = g_array_new(FALSE, FALSE, sizeof(PodLayer));
    OciBlockDevice *blocks = arena_new0(arena, OciBlockDevice, wishes->len + 1);

    keys_set(container, wishes);
    if (wishes->len > 0 && (!attach_all(container, wishes, deadline, arena, blocks, disks, error) ||
                            !find_in_guest(container, disks, deadline, arena, blocks, error)))
        return FALSE;
    *ret_blocks = blocks;
    *ret_n_blocks = wishes->len;
    return TRUE;
}

/* ---- release ---- */

/* pod->lock is held. */
static gboolean is_used_by_others(const Container *container, const char *key)
{
    GHashTableIter iter;
    gpointer other;

    g_hash_table_iter_init(&iter, container->pod->containers);
    while (g_hash_table_iter_next(&iter, NULL, &other))
        if (other != container && ((Container *)other)->blocks != NULL &&
            g_strv_contains((const char *const *)((Container *)other)->blocks, key))
            return TRUE;
    return FALSE;
}

gboolean container_blocks_release(Container *container, const Deadline *deadline, GError **error)
{
    Pod *pod = container->pod;

    for (char **key = container->blocks; key != NULL && *key != NULL; key++) {
        gboolean used;

        g_mutex_lock(&pod->lock);
        used = is_used_by_others(container, *key);
        g_mutex_unlock(&pod->lock);
        if (!used && !vm_pod_detach_block(pod, *key, deadline, error))
            return FALSE;
    }
    return TRUE;
}
