/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/rootfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/idmap.h"
#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"
#include "agent/guest/tree.h"
#include "agent/guest/volume.h"

/* mount(2) takes a page of options, so layers are named relative to their directory, by a few characters
 * each. `volatile` skips syncs, because the writable disk is deleted with the pod. `xino` gives all files one
 * st_dev, and inode numbers that copy-up and the caches do not change; that takes layers with different
 * UUIDs. */
static bool mount_overlay(const VolumeBase *base, const uint32_t *luns, size_t n_luns, const char *target,
                          Fault *ret_fault)
{
    char options[4096];
    snprintf(options, sizeof options, "volatile,xino=on,upperdir=%s/fs,workdir=%s/work,lowerdir=%s",
             base->upper, base->upper, n_luns == 0 ? NO_LAYER_DIR : "");
    if (!volume_lower_names(luns, n_luns, options, sizeof options))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "container %s has too many layers (%zu)", base->id,
                     n_luns);
    if (chdir(base->layers) < 0)
        return fault_errno(ret_fault, "entering the directory of layers %s", base->layers);
    bool ok = mount("overlay", target, "overlay", 0, options) == 0 ||
              fault_errno(ret_fault, "mounting the root of container %s (%s)", base->id, options);
    if (chdir("/") < 0)
        complain("chdir /: %s", strerror(errno));
    return ok;
}

static bool rootfs_make_directories(const VolumeBase *base, const char *target, Fault *ret_fault)
{
    char path[300];
    snprintf(path, sizeof path, "%s/fs", base->upper);
    if (!dir_put(path, 0755, ret_fault))
        return false;
    if (chown(path, base->root_uid, base->root_gid) < 0)
        return fault_errno(ret_fault, "giving %s to the container's root", path);
    snprintf(path, sizeof path, "%s/work", base->upper);
    return dir_put(path, 0755, ret_fault) && dir_put(target, 0755, ret_fault);
}

/* ---- where the layers are ---- */

static bool map_layer(const VolumeBase *base, uint32_t lun, int userns_fd, Fault *ret_fault)
{
    char from[64], to[300];
    snprintf(from, sizeof from, LAYERS_DIR "/%u", lun);
    snprintf(to, sizeof to, "%s/%u", base->layers, lun);
    if (access(to, F_OK) == 0) /* the image of a volume has the same layer */
        return true;
    return dir_put(to, 0755, ret_fault) && idmap_bind(from, to, userns_fd, ret_fault);
}

/* Makes mapped copies of the layers, all below a mount of their own: unmounting that removes them all. */
static bool map_layers(const Rootfs *rootfs, VolumeBase *base, int userns_fd, Fault *ret_fault)
{
    snprintf(base->layers, sizeof base->layers, CONTAINERS_DIR "/%s/l", base->id);
    if (!dir_put(base->layers, 0755, ret_fault))
        return false;
    if (mount("mapped", base->layers, "tmpfs", 0, "mode=755") < 0)
        return fault_errno(ret_fault, "mounting a directory for mapped layers");
    for (size_t i = 0; i < rootfs->n_luns; i++)
        if (!map_layer(base, rootfs->luns[i], userns_fd, ret_fault))
            return false;
    return true;
}

static void unmap_layers(const VolumeBase *base)
{
    if (umount2(base->layers, MNT_DETACH) < 0)
        complain("unmounting %s: %s", base->layers, strerror(errno));
}

/* ---- layers ---- */

/* An image may have one layer twice. overlayfs refuses that, and only the upper one matters. */
static bool layer_is_repeated(Disk *const *layers, size_t n_layers, size_t at)
{
    for (size_t i = at + 1; i < n_layers; i++)
        if (layers[i]->lun == layers[at]->lun)
            return true;
    return false;
}

static void release_layers(Rootfs *rootfs)
{
    while (rootfs->n_luns > 0)
        layer_release(rootfs->luns[--rootfs->n_luns]);
}

static DiskState acquire_layers(Rootfs *rootfs, Disk *const *layers, size_t n_layers, size_t *ret_count,
                                Fault *ret_fault)
{
    size_t before = rootfs->n_luns;
    for (size_t i = 0; i < n_layers; i++) {
        if (layer_is_repeated(layers, n_layers, i))
            continue;
        if (rootfs->n_luns >= LAYERS_MAX) {
            fault(ret_fault, FAULT_INVALID_ARGUMENT,
                  "the container and its image volumes have more than %d layers", LAYERS_MAX);
            return DISK_FAILED;
        }
        DiskState state = layer_acquire(layers[i], ret_fault);
        if (state != DISK_READY)
            return state;
        rootfs->luns[rootfs->n_luns++] = layers[i]->lun;
    }
    *ret_count = rootfs->n_luns - before;
    return DISK_READY;
}

typedef struct {
    size_t n_root;   /* layers of the rootfs */
    size_t *n_image; /* of each image volume */
} LayerCounts;

static DiskState rootfs_acquire_layers(Rootfs *rootfs, const CreateContainerRequest *request,
                                       LayerCounts *counts, Fault *ret_fault)
{
    DiskState state = acquire_layers(rootfs, request->layers, request->n_layers, &counts->n_root, ret_fault);
    for (size_t i = 0; state == DISK_READY && i < request->n_image_volumes; i++)
        state = acquire_layers(rootfs, request->image_volumes[i]->layers, request->image_volumes[i]->n_layers,
                               &counts->n_image[i], ret_fault);
    if (state != DISK_READY)
        release_layers(rootfs);
    return state;
}

/* ---- the whole ---- */

static bool rootfs_mount_all(Rootfs *rootfs, const VolumeBase *base, const CreateContainerRequest *request,
                             const LayerCounts *counts, Fault *ret_fault)
{
    char target[256];
    const uint32_t *luns = rootfs->luns;

    snprintf(target, sizeof target, CONTAINERS_DIR "/%s/rootfs", base->id);
    if (!rootfs_make_directories(base, target, ret_fault) ||
        !mount_overlay(base, luns, counts->n_root, target, ret_fault))
        return false;
    luns += counts->n_root;
    for (size_t i = 0; i < request->n_image_volumes; i++) {
        const ImageVolume *volume = request->image_volumes[i];
        if (!volume_mount_image(base, volume->index, luns, counts->n_image[i], volume->sub_path, ret_fault))
            return false;
        rootfs->images[rootfs->n_images++] = volume->index;
        luns += counts->n_image[i];
    }
    for (size_t i = 0; i < request->n_memory_volumes; i++) {
        if (!volume_mount_memory(base, request->memory_volumes[i], ret_fault))
            return false;
        rootfs->images[rootfs->n_images++] = request->memory_volumes[i]->index;
    }
    for (size_t i = 0; i < request->n_anonymous_volumes; i++) {
        if (!volume_mount_anonymous(base, rootfs->luns, counts->n_root, i, request->anonymous_volumes[i],
                                    ret_fault))
            return false;
        rootfs->n_anonymous++;
    }
    return true;
}

static void rootfs_unmount_one(const char *id, const char *name, uint32_t number, bool numbered)
{
    char target[256];
    snprintf(target, sizeof target, numbered ? CONTAINERS_DIR "/%s/%s%u" : CONTAINERS_DIR "/%s/%s", id, name,
             number);
    if (umount2(target, 0) < 0 && errno != EINVAL && errno != ENOENT && umount2(target, MNT_DETACH) < 0)
        complain("unmounting %s: %s", target, strerror(errno));
}

static void rootfs_unmount_all(Rootfs *rootfs)
{
    while (rootfs->n_anonymous > 0)
        rootfs_unmount_one(rootfs->id, "a", (uint32_t)--rootfs->n_anonymous, true);
    while (rootfs->n_images > 0)
        rootfs_unmount_one(rootfs->id, "v", rootfs->images[--rootfs->n_images], true);
    rootfs_unmount_one(rootfs->id, "rootfs", 0, false);
    tree_remove_later(UPPER_DIR, rootfs->id);
}

void rootfs_owner(const CreateContainerRequest *request, uint32_t *ret_uid, uint32_t *ret_gid)
{
    bool is_mapped = request->n_uid_mappings == 1 && request->n_gid_mappings == 1;

    *ret_uid = is_mapped ? request->uid_mappings[0]->guest_id : 0;
    *ret_gid = is_mapped ? request->gid_mappings[0]->guest_id : 0;
}

static bool rootfs_mount_mapped(Rootfs *rootfs, const CreateContainerRequest *request,
                                const LayerCounts *counts, int userns_fd, Fault *ret_fault)
{
    VolumeBase base = {.id = rootfs->id, .layers = LAYERS_DIR};

    rootfs_owner(request, &base.root_uid, &base.root_gid);
    snprintf(base.upper, sizeof base.upper, UPPER_DIR "/%s", rootfs->id);
    if (!dir_put(base.upper, 0700, ret_fault))
        return false;
    bool ok = (userns_fd < 0 || map_layers(rootfs, &base, userns_fd, ret_fault)) &&
              rootfs_mount_all(rootfs, &base, request, counts, ret_fault);
    if (userns_fd >= 0)
        unmap_layers(&base);
    return ok;
}

static DiskState rootfs_mount_with(const CreateContainerRequest *request, int userns_fd, Rootfs *rootfs,
                                   LayerCounts *counts, Fault *ret_fault)
{
    DiskState state = rootfs_acquire_layers(rootfs, request, counts, ret_fault);
    if (state != DISK_READY)
        return state;
    snprintf(rootfs->id, sizeof rootfs->id, "%s", request->id);
    if (rootfs_mount_mapped(rootfs, request, counts, userns_fd, ret_fault))
        return DISK_READY;
    rootfs_unmount_all(rootfs);
    release_layers(rootfs);
    return DISK_FAILED;
}

DiskState rootfs_mount(const CreateContainerRequest *request, int userns_fd, Rootfs *ret_rootfs,
                       Fault *ret_fault)
{
    Rootfs rootfs = {.images =
                         calloc(request->n_image_volumes + request->n_memory_volumes + 1, sizeof(uint32_t))};
    LayerCounts counts = {.n_image = calloc(request->n_image_volumes + 1, sizeof(size_t))};
    DiskState state = DISK_FAILED;

    if (rootfs.images != NULL && counts.n_image != NULL)
        state = rootfs_mount_with(request, userns_fd, &rootfs, &counts, ret_fault);
    else
        fault(ret_fault, FAULT_RESOURCE_EXHAUSTED,
              "cannot mount the volumes of container %s: out of memory in the guest", request->id);
    free(counts.n_image);
    if (state == DISK_READY)
        *ret_rootfs = rootfs;
    else
        free(rootfs.images);
    return state;
}

size_t rootfs_unmount(Rootfs *rootfs, uint32_t *ret_released)
{
    size_t n_released = 0;

    if (rootfs->id[0] == '\0')
        return 0;
    rootfs_unmount_all(rootfs);
    for (size_t i = 0; i < rootfs->n_luns; i++)
        if (layer_release(rootfs->luns[i]))
            ret_released[n_released++] = rootfs->luns[i];
    free(rootfs->images);
    rootfs->images = NULL;
    rootfs->id[0] = '\0';
    rootfs->n_luns = 0;
    return n_released;
}
