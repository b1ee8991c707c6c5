/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/saved_blocks.h"

#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "sandbox/container/container_blocks.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/pod_table.h"

#define RECORD "blocks" /* of a hibernated pod: a line "LUN BYTES" for each */

enum { RECORD_MAX_BYTES = 1 << 20 };

/* A block device that a running guest has. */
typedef struct {
    guint container; /* the index in the list that was asked for */
    guint lun;
    guint64 bytes;
    BlockRequest request;
} GuestBlock;

static void attachment_clear(gpointer data)
{
    BlockAttachment *attachment = data;

    g_free(attachment->host_path);
    if (attachment->hold >= 0)
        close(attachment->hold);
}

GArray *saved_blocks_new(void)
{
    GArray *attachments = g_array_new(FALSE, TRUE, sizeof(BlockAttachment));

    g_array_set_clear_func(attachments, attachment_clear);
    return attachments;
}

static const BlockAttachment *attachment_at(const GArray *attachments, guint lun)
{
    for (guint i = 0; i < attachments->len; i++) {
        const BlockAttachment *attachment = &g_array_index(attachments, BlockAttachment, i);

        if (attachment->lun == lun)
            return attachment;
    }
    return NULL;
}

/* Adds a device, and keeps others from opening it for themselves alone. */
static gboolean attachment_add(GArray *attachments, guint lun, const char *host_path,
                               const BlockDevice *device, gboolean readonly, GError **error)
{
    BlockAttachment attachment = {.lun = lun, .device = *device, .readonly = readonly, .hold = -1};

    if (!readonly && !block_device_hold(host_path, device, &attachment.hold, error))
        return FALSE;
    attachment.host_path = g_strdup(host_path);
    g_array_append_val(attachments, attachment);
    return TRUE;
}

/* ---- the block devices of a guest ---- */

static gboolean blocks_add_of(Container *container, guint number, GArray *blocks, GError **error)
{
    g_autoptr(GArray) requests = container_block_requests(container);

    for (guint i = 0; i < requests->len; i++) {
        const BlockRequest *request = &g_array_index(requests, BlockRequest, i);
        g_autofree char *key = block_device_key(&request->device, block_request_is_readonly(request));
        GuestBlock block = {.container = number, .request = *request};

        if (!pod_find_disk(container->pod, key, &block.lun))
            return fail(error, STATUS_FAILED_PRECONDITION,
                        "container %s: %s is not the device any more that the container has at %s",
                        container->id, request->host_path, request->container_path);
        if (!block_device_size(request->host_path, &block.bytes, error))
            return FALSE;
        g_array_append_val(blocks, block);
    }
    return TRUE;
}

static gboolean lun_is_among(const GArray *blocks, guint lun)
{
    for (guint i = 0; i < blocks->len; i++)
        if (g_array_index(blocks, GuestBlock, i).lun == lun)
            return TRUE;
    return FALSE;
}

/* A saved guest needs all disks that it had. */
static gboolean blocks_are_all(Pod *pod, const GArray *blocks, GError **error)
{
    g_autofree char *other = NULL;
    GHashTableIter iter;
    gpointer key;
    gpointer lun;

    g_mutex_lock(&pod->lock);
    g_hash_table_iter_init(&iter, pod->disks);
    while (other == NULL && g_hash_table_iter_next(&iter, &key, &lun))
        if (block_device_is_key(key) && !lun_is_among(blocks, GPOINTER_TO_UINT(lun)))
            other = g_strdup(key);
    g_mutex_unlock(&pod->lock);
    return other == NULL ||
           fail(
               error, STATUS_FAILED_PRECONDITION,
               "the guest has the block device \"%s\", which belongs to a container that is not saved, or is "
               "not on the node any more at the path in its container's configuration",
               other);
}

/* Return: an array of GuestBlock, the caller's, whose strings are the containers'; NULL with the error. */
static GArray *blocks_find(Pod *pod, const GPtrArray *containers, GError **error)
{
    g_autoptr(GArray) blocks = g_array_new(FALSE, FALSE, sizeof(GuestBlock));

    for (guint i = 0; i < containers->len; i++)
        if (!blocks_add_of(containers->pdata[i], i, blocks, error))
            return NULL;
    return blocks_are_all(pod, blocks, error) ? g_steal_pointer(&blocks) : NULL;
}

/* ---- checkpoints ---- */

gboolean saved_blocks_describe(Pod *pod, const GPtrArray *containers, Checkpoint *checkpoint, GError **error)
{
    g_autoptr(GArray) blocks = blocks_find(pod, containers, error);

    for (guint i = 0; blocks != NULL && i < blocks->len; i++) {
        const GuestBlock *block = &g_array_index(blocks, GuestBlock, i);
        CheckpointBlock *described = checkpoint_add_block(checkpoint->containers->pdata[block->container]);

        described->is_mount = block->request.is_mount;
        described->index = block->request.index;
        described->lun = block->lun;
        described->bytes = block->bytes;
        described->container_path = g_strdup(block->request.container_path);
        described->host_path = g_strdup(block->request.host_path);
    }
    return blocks != NULL;
}

/* What the request has at the place of a block device in the checkpoint. */
typedef struct {
    char *field; /* for errors */
    const char *host_path;
    gboolean readonly;
    BlockDevice device;
} Wanted;

static void wanted_clear(Wanted *wanted)
{
    g_free(wanted->field);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Wanted, wanted_clear)

static gboolean wanted_find(const CheckpointBlock *saved, const Runtime__V1__ContainerConfig *config,
                            Wanted *ret_wanted, GError **error)
{
    const char *container_path = NULL;

    ret_wanted->field =
        g_strdup_printf("config.%s[%u].host_path", saved->is_mount ? "mounts" : "devices", saved->index);
    if (saved->is_mount && saved->index < config->n_mounts) {
        ret_wanted->host_path = config->mounts[saved->index]->host_path;
        ret_wanted->readonly = config->mounts[saved->index]->readonly;
        container_path = config->mounts[saved->index]->container_path;
    } else if (!saved->is_mount && saved->index < config->n_devices) {
        ret_wanted->host_path = config->devices[saved->index]->host_path;
        ret_wanted->readonly = container_device_is_readonly(config->devices[saved->index]);
        container_path = config->devices[saved->index]->container_path;
    }
    if (container_path == NULL || !g_str_equal(container_path, saved->container_path))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "%s: the container in the checkpoint has a block device there at %s", ret_wanted->field,
                    saved->container_path);
    return block_device_find(ret_wanted->host_path, !saved->is_mount, &ret_wanted->device) ||
           fail(error, STATUS_NOT_FOUND, "%s: %s is not a block device of this node%s", ret_wanted->field,
                ret_wanted->host_path, saved->is_mount ? "" : ", and not a file");
}

static gboolean size_check(const CheckpointBlock *saved, const Wanted *wanted, GError **error)
{
    guint64 bytes;

    if (!block_device_size(wanted->host_path, &bytes, error)) {
        g_prefix_error(error, "%s: ", wanted->field);
        return FALSE;
    }
    return bytes == saved->bytes ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "%s: %s has %" G_GUINT64_FORMAT " bytes, and the block device in the checkpoint has "
                "%" G_GUINT64_FORMAT,
                wanted->field, wanted->host_path, bytes, saved->bytes);
}

/* A device that is only read may be read by others. */
static gboolean pod_uses(Pod *pod, const Wanted *wanted)
{
    g_autofree char *writes = block_device_key(&wanted->device, FALSE);
    g_autofree char *reads = block_device_key(&wanted->device, TRUE);
    guint lun;

    return pod_state(pod) != POD_STOPPED &&
           (pod_find_disk(pod, writes, &lun) || (!wanted->readonly && pod_find_disk(pod, reads, &lun)));
}

static gboolean use_check(SandboxManager *manager, const Wanted *wanted, GError **error)
{
    g_autoptr(GPtrArray) pods = manager_pods(manager);

    for (guint i = 0; i < pods->len; i++)
        if (pod_uses(pods->pdata[i], wanted))
            return fail(error, STATUS_FAILED_PRECONDITION, "%s: %s is in use by sandbox %s", wanted->field,
                        wanted->host_path, ((Pod *)pods->pdata[i])->id);
    return TRUE;
}

/* Disks that were one are one again, and those that were two are two. */
static gboolean is_distinct(const GArray *attachments, guint lun, const Wanted *wanted, GError **error)
{
    g_autofree char *key = block_device_key(&wanted->device, wanted->readonly);

    for (guint i = 0; i < attachments->len; i++) {
        const BlockAttachment *other = &g_array_index(attachments, BlockAttachment, i);
        g_autofree char *other_key = block_device_key(&other->device, other->readonly);

        if ((other->lun == lun) != g_str_equal(key, other_key))
            return fail(error, STATUS_FAILED_PRECONDITION,
                        other->lun == lun ? "%s: %s and %s are two block devices, and one in the checkpoint"
                                          : "%s: %s and %s are one block device, and two in the checkpoint",
                        wanted->field, wanted->host_path, other->host_path);
    }
    return TRUE;
}

static gboolean block_match(SandboxManager *manager, const CheckpointBlock *saved,
                            const Runtime__V1__ContainerConfig *config, GArray *attachments, GError **error)
{
    g_auto(Wanted) wanted = {0};

    if (!wanted_find(saved, config, &wanted, error) || !size_check(saved, &wanted, error) ||
        !is_distinct(attachments, saved->lun, &wanted, error))
        return FALSE;
    if (attachment_at(attachments, saved->lun) != NULL)
        return TRUE;
    if (!use_check(manager, &wanted, error))
        return FALSE;
    if (attachment_add(attachments, saved->lun, wanted.host_path, &wanted.device, wanted.readonly, error))
        return TRUE;
    g_prefix_error(error, "%s: ", wanted.field);
    return FALSE;
}

static gboolean is_saved(const CheckpointContainer *saved, gboolean is_mount, guint index)
{
    for (guint i = 0; i < saved->blocks->len; i++) {
        const CheckpointBlock *block = saved->blocks->pdata[i];

        if (block->is_mount == is_mount && block->index == index)
            return TRUE;
    }
    return FALSE;
}

static gboolean others_check(const CheckpointContainer *saved, const Runtime__V1__ContainerConfig *config,
                             GError **error)
{
    BlockDevice device;

    for (guint i = 0; i < config->n_devices; i++)
        if (!is_saved(saved, FALSE, i))
            return fail(error, STATUS_FAILED_PRECONDITION,
                        "config.devices[%u]: the container in the checkpoint has no block device there", i);
    for (guint i = 0; i < config->n_mounts; i++)
        if (!is_saved(saved, TRUE, i) && !oci_mount_is_image(config->mounts[i]) &&
            block_device_find(config->mounts[i]->host_path, FALSE, &device))
            return fail(error, STATUS_FAILED_PRECONDITION,
                        "config.mounts[%u].host_path: %s is a block device, and the container in the "
                        "checkpoint has none there",
                        i, config->mounts[i]->host_path);
    return TRUE;
}

gboolean saved_blocks_match(SandboxManager *manager, const CheckpointContainer *saved,
                            const Runtime__V1__ContainerConfig *config, GArray *attachments, GError **error)
{
    gboolean good = others_check(saved, config, error);

    for (guint i = 0; good && i < saved->blocks->len; i++)
        good = block_match(manager, saved->blocks->pdata[i], config, attachments, error);
    if (!good)
        g_prefix_error(error, "container %s: ", saved->name);
    return good;
}

/* ---- hibernation ---- */

static gint by_lun(gconstpointer a, gconstpointer b)
{
    const guint first = ((const GuestBlock *)a)->lun;
    const guint second = ((const GuestBlock *)b)->lun;

    return first < second ? -1 : first > second;
}

static char *record_path(int directory)
{
    return g_strdup_printf("/proc/self/fd/%d/" RECORD, directory);
}

/* Return: a record of all block devices that the guest has, the caller's; NULL with the error. Those of
 * attachments, which may be NULL, are added to it. */
static char *record_make(Pod *pod, GArray *attachments, GError **error)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);
    g_autoptr(GArray) blocks = blocks_find(pod, containers, error);
    g_autoptr(GHashTable) lines = g_hash_table_new(NULL, NULL);
    GString *text;

    if (blocks == NULL)
        return NULL;
    g_array_sort(blocks, by_lun);
    text = g_string_new(NULL);
    for (guint i = 0; i < blocks->len; i++) {
        const GuestBlock *block = &g_array_index(blocks, GuestBlock, i);
        const BlockRequest *request = &block->request;

        if (!g_hash_table_add(lines, GUINT_TO_POINTER(block->lun)))
            continue;
        g_string_append_printf(text, "%u %" G_GUINT64_FORMAT "\n", block->lun, block->bytes);
        if (attachments != NULL &&
            !attachment_add(attachments, block->lun, request->host_path, &request->device,
                            block_request_is_readonly(request), error)) {
            g_string_free(text, TRUE);
            return NULL;
        }
    }
    return g_string_free(text, FALSE);
}

gboolean saved_blocks_record(Pod *pod, int directory, GError **error)
{
    g_autofree char *text = record_make(pod, NULL, error);
    g_autofree char *path = record_path(directory);

    return text != NULL && file_write_atomic(path, text, strlen(text), 0600, error);
}

/* A pod that an earlier version has hibernated has no record, and no block devices. */
GArray *saved_blocks_open(Pod *pod, int directory, GError **error)
{
    g_autoptr(GArray) attachments = saved_blocks_new();
    g_autofree char *text = record_make(pod, attachments, error);
    g_autofree char *path = record_path(directory);
    g_autofree char *saved = NULL;

    if (text == NULL)
        return NULL;
    if (g_file_test(path, G_FILE_TEST_EXISTS) && !file_read(path, RECORD_MAX_BYTES, &saved, NULL, error))
        return NULL;
    if (g_str_equal(text, saved != NULL ? saved : ""))
        return g_steal_pointer(&attachments);
    fail(
        error, STATUS_FAILED_PRECONDITION,
        "the block devices of the sandbox are not those that it was hibernated with, or have other sizes: by "
        "number and bytes, they were \"%s\", and are \"%s\"",
        saved != NULL ? g_strchomp(saved) : "", g_strchomp(text));
    return NULL;
}
