/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/container/container_blocks.h"

#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/log.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/vm_pod.h"
#include "sandbox/pods/container.h"

enum { FIND_TIMEOUT_MS = 20 * 1000 };

static gboolean is_readonly(const char *permissions)
{
    return strchr(permissions, 'w') == NULL;
}

gboolean block_request_is_readonly(const BlockRequest *request)
{
    return is_readonly(request->permissions);
}

static const char *device_permissions(const Runtime__V1__Device *device)
{
    return *device->permissions != '\0' ? device->permissions : "rwm";
}

gboolean container_device_is_readonly(const Runtime__V1__Device *device)
{
    return is_readonly(device_permissions(device));
}

gboolean container_device_is_block(const Container *container, const Runtime__V1__Device *device)
{
    BlockDevice found;

    return !container->pod->platform->on_node && block_device_find(device->host_path, TRUE, &found);
}

gboolean container_mount_is_block(const Container *container, const Runtime__V1__Mount *mount)
{
    BlockDevice device;

    return !container->pod->platform->on_node && !oci_mount_is_image(mount) &&
           block_device_find(mount->host_path, FALSE, &device);
}

GArray *container_block_requests(const Container *container)
{
    const Runtime__V1__ContainerConfig *config = container->config;
    GArray *requests = g_array_new(FALSE, FALSE, sizeof(BlockRequest));

    /* Containers of a host pod use the node's device files directly. */
    if (container->pod->platform->on_node)
        return requests;
    for (guint i = 0; i < config->n_devices; i++) {
        const Runtime__V1__Device *device = config->devices[i];
        BlockRequest request = {device->host_path, device->container_path, device_permissions(device), FALSE,
                                i};

        if (block_device_find(device->host_path, TRUE, &request.device))
            g_array_append_val(requests, request);
    }
    for (guint i = 0; i < config->n_mounts; i++) {
        const Runtime__V1__Mount *mount = config->mounts[i];
        BlockRequest request = {mount->host_path, mount->container_path, mount->readonly ? "rm" : "rwm", TRUE,
                                i};

        if (container_mount_is_block(container, mount) &&
            block_device_find(mount->host_path, FALSE, &request.device))
            g_array_append_val(requests, request);
    }
    return requests;
}

static void container_set_block_keys(Container *container, const GArray *requests)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new();

    for (guint i = 0; i < requests->len; i++) {
        const BlockRequest *request = &g_array_index(requests, BlockRequest, i);

        g_ptr_array_add(keys, block_device_key(&request->device, block_request_is_readonly(request)));
    }
    g_ptr_array_add(keys, NULL);
    g_mutex_lock(&container->pod->lock);
    g_strfreev(container->blocks);
    container->blocks = (char **)g_ptr_array_steal(keys, NULL);
    g_mutex_unlock(&container->pod->lock);
}

void container_blocks_restore(Container *container)
{
    g_autoptr(GArray) requests = container_block_requests(container);

    container_set_block_keys(container, requests);
}

/* ---- in the guest ---- */

static gboolean block_disks_find_in_guest(Container *container, const GArray *disks, const Deadline *deadline,
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
           fail(error, STATUS_INTERNAL, "the guest's agent found %zu disks instead of %u",
                response->n_numbers, disks->len);
    for (guint i = 0; good && i < disks->len; i++) {
        blocks[i].major = response->numbers[i]->major;
        blocks[i].minor = response->numbers[i]->minor;
    }
    return good;
}

/* ---- attaching ---- */

static gboolean block_request_check(const BlockRequest *request, const Runtime__V1__UserNamespace *user,
                                    GError **error)
{
    if (*request->container_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config: the container's path \"%s\" of %s is not absolute", request->container_path,
                    request->host_path);
    if (user != NULL)
        return fail(error, STATUS_UNIMPLEMENTED,
                    "config: the block device %s cannot be given to a pod in a user namespace",
                    request->host_path);
    return TRUE;
}

static OciBlockDevice oci_block_device(const BlockRequest *request, Arena *arena)
{
    return (OciBlockDevice){
        .path = arena_strdup(arena, request->container_path),
        .permissions = arena_strdup(arena, request->permissions),
        .mode = request->device.mode,
        .uid = request->device.uid,
        .gid = request->device.gid,
        .is_mount = request->is_mount,
        .index = request->index,
    };
}

static gboolean block_disks_attach(Container *container, const GArray *requests, const Deadline *deadline,
                                   Arena *arena, OciBlockDevice *blocks, GArray *disks, GError **error)
{
    const Runtime__V1__UserNamespace *user = oci_userns(container->pod->config);

    for (guint i = 0; i < requests->len; i++) {
        const BlockRequest *request = &g_array_index(requests, BlockRequest, i);
        PodLayer disk = {0};

        if (!block_request_check(request, user, error) ||
            !vm_pod_attach_block(container->pod, request->host_path, &request->device,
                                 block_request_is_readonly(request), deadline, &disk.lun, error))
            return FALSE;
        g_array_append_val(disks, disk);
        blocks[i] = oci_block_device(request, arena);
    }
    return TRUE;
}

gboolean container_blocks_attach(Container *container, const Deadline *deadline, Arena *arena,
                                 OciBlockDevice **ret_blocks, guint *ret_n_blocks, GError **error)
{
    g_autoptr(GArray) requests = container_block_requests(container);
    g_autoptr(GArray) disks = g_array_new(FALSE, FALSE, sizeof(PodLayer));
    OciBlockDevice *blocks = arena_new0(arena, OciBlockDevice, requests->len + 1);

    container_set_block_keys(container, requests);
    if (requests->len > 0 &&
        (!block_disks_attach(container, requests, deadline, arena, blocks, disks, error) ||
         !block_disks_find_in_guest(container, disks, deadline, arena, blocks, error)))
        return FALSE;
    *ret_blocks = blocks;
    *ret_n_blocks = requests->len;
    return TRUE;
}

/* ---- release ---- */

/* Called with pod->lock held. */
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
