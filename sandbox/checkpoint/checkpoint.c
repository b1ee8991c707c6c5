/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/checkpoint/packed_file.h"

#include <string.h>
#include <unistd.h>

#include "sandbox/host/block_device.h"
#include "sandbox/host/time_stamp.h"
#include "sandbox/host/volume_options.h"

static void mount_free(gpointer data)
{
    g_free(((CheckpointMount *)data)->name);
    g_free(data);
}

static void block_free(gpointer data)
{
    CheckpointBlock *block = data;

    g_free(block->container_path);
    g_free(block->host_path);
    g_free(block);
}

static void container_free(gpointer data)
{
    CheckpointContainer *container = data;

    g_free(container->name);
    g_free(container->id);
    g_free(container->image_id);
    g_strfreev(container->layers);
    g_array_unref(container->groups);
    g_ptr_array_unref(container->binds);
    g_ptr_array_unref(container->images);
    g_ptr_array_unref(container->blocks);
    g_free(container);
}

static void disk_free(gpointer data)
{
    g_free(((CheckpointDisk *)data)->key);
    g_free(data);
}

Checkpoint *checkpoint_new(void)
{
    Checkpoint *checkpoint = g_new0(Checkpoint, 1);

    checkpoint->containers = g_ptr_array_new_with_free_func(container_free);
    checkpoint->volume_cache = g_strdup(VOLUME_CACHE_DEFAULT);
    checkpoint->volume_locks = VOLUME_LOCKS_UNKNOWN;
    checkpoint->others = g_ptr_array_new_with_free_func(g_free);
    checkpoint->disks = g_ptr_array_new_with_free_func(disk_free);
    checkpoint->ram_fd = checkpoint->disk_fd = checkpoint->device_fd = checkpoint->volumes_fd = -1;
    return checkpoint;
}

static void fd_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

void checkpoint_free(Checkpoint *checkpoint)
{
    if (checkpoint == NULL)
        return;
    packed_file_free(checkpoint->ram_packed);
    packed_file_free(checkpoint->disk_packed);
    fd_close(checkpoint->ram_fd);
    fd_close(checkpoint->disk_fd);
    fd_close(checkpoint->device_fd);
    fd_close(checkpoint->volumes_fd);
    g_free(checkpoint->handler);
    g_free(checkpoint->volume_cache);
    g_strfreev(checkpoint->inputs);
    g_ptr_array_unref(checkpoint->containers);
    g_ptr_array_unref(checkpoint->others);
    g_ptr_array_unref(checkpoint->disks);
    if (checkpoint->request != NULL)
        runtime__v1__restore_pod_request__free_unpacked(checkpoint->request, NULL);
    g_free(checkpoint);
}

CheckpointContainer *checkpoint_add_container(Checkpoint *checkpoint)
{
    CheckpointContainer *container = g_new0(CheckpointContainer, 1);

    container->groups = g_array_new(FALSE, FALSE, sizeof(gint64));
    container->binds = g_ptr_array_new_with_free_func(mount_free);
    container->images = g_ptr_array_new_with_free_func(mount_free);
    container->blocks = g_ptr_array_new_with_free_func(block_free);
    g_ptr_array_add(checkpoint->containers, container);
    return container;
}

void checkpoint_add_mount(GPtrArray *mounts, guint index, char *name)
{
    CheckpointMount *mount = g_new(CheckpointMount, 1);

    *mount = (CheckpointMount){index, name};
    g_ptr_array_add(mounts, mount);
}

CheckpointBlock *checkpoint_add_block(CheckpointContainer *container)
{
    CheckpointBlock *block = g_new0(CheckpointBlock, 1);

    g_ptr_array_add(container->blocks, block);
    return block;
}

CheckpointDisk *checkpoint_add_disk(Checkpoint *checkpoint)
{
    CheckpointDisk *disk = g_new0(CheckpointDisk, 1);

    g_ptr_array_add(checkpoint->disks, disk);
    return disk;
}

static gint by_lun(gconstpointer a, gconstpointer b)
{
    const CheckpointDisk *first = *(CheckpointDisk *const *)a;
    const CheckpointDisk *second = *(CheckpointDisk *const *)b;

    return first->lun < second->lun ? -1 : first->lun > second->lun;
}

GPtrArray *checkpoint_disks_of(GHashTable *disks)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(disk_free);
    GHashTableIter iter;
    gpointer key;
    gpointer lun;

    g_hash_table_iter_init(&iter, disks);
    while (g_hash_table_iter_next(&iter, &key, &lun)) {
        CheckpointDisk *disk;

        if (block_device_is_key(key))
            continue;
        disk = g_new(CheckpointDisk, 1);
        *disk = (CheckpointDisk){.lun = GPOINTER_TO_UINT(lun), .key = g_strdup(key)};
        g_ptr_array_add(all, disk);
    }
    g_ptr_array_sort(all, by_lun);
    return all;
}

static const char *input_find(char *const *inputs, const char *name, gsize length)
{
    for (; *inputs != NULL; inputs++)
        if (strncmp(*inputs, name, length) == 0 && (*inputs)[length] == '=')
            return *inputs + length + 1;
    return NULL;
}

guint checkpoint_time_stamp_khz(const Checkpoint *checkpoint)
{
    const char *text = input_find(checkpoint->inputs, TIME_STAMP_INPUT, strlen(TIME_STAMP_INPUT));

    return text != NULL ? time_stamp_parse(text) : 0;
}

/* Return: whether a guest that was saved with an input of that name and value can go on with another. */
static gboolean input_fits(const char *input, gsize length, const char *saved, const char *here)
{
    if (saved != NULL && length == strlen(TIME_STAMP_INPUT) && strncmp(input, TIME_STAMP_INPUT, length) == 0)
        return time_stamp_fits(saved, here);
    return g_strcmp0(here, saved) == 0;
}

/* Return: what of two texts that differ is worth showing: of a long one, from shortly before the difference.
 */
static char *excerpt(const char *text, const char *other)
{
    enum { BEFORE = 40, LENGTH = 160 };
    gsize at = 0;

    while (strlen(text) > LENGTH && text[at] != '\0' && text[at] == other[at])
        at++;
    return g_strndup(text + (at > BEFORE ? at - BEFORE : 0), LENGTH);
}

char *checkpoint_inputs_difference(char *const *saved_inputs, const char *owner, const char *const *inputs)
{
    for (; *inputs != NULL; inputs++) {
        const char *equals = strchr(*inputs, '=');
        const gsize length = equals != NULL ? (gsize)(equals - *inputs) : strlen(*inputs);
        const char *here = equals != NULL ? equals + 1 : "";
        const char *saved = input_find(saved_inputs, *inputs, length);
        g_autofree char *there = NULL;
        g_autofree char *shown = NULL;

        if (input_fits(*inputs, length, saved, here))
            continue;
        there = saved != NULL ? excerpt(saved, here) : g_strdup("none");
        shown = excerpt(here, saved != NULL ? saved : "");
        return g_strdup_printf("%.*s: %s has \"%s\", this node has \"%s\"", (int)length, *inputs, owner,
                               there, shown);
    }
    return NULL;
}

char *checkpoint_difference(const Checkpoint *checkpoint, const char *const *inputs)
{
    return checkpoint_inputs_difference(checkpoint->inputs, "the checkpoint", inputs);
}
