#include "agent/guest/rootfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"
#include "agent/guest/tree.h"

/* mount(2) takes a page of options: hence names relative to LAYERS_DIR, a few characters a layer. `volatile`:
 * the writable disk ends with the pod, so nobody needs to wait for a sync of it. */
static bool mount_overlay(const Rootfs *rootfs, const char *target, Fault *ret_fault)
{
    char options[4096];
    int length =
        snprintf(options, sizeof options,
                 "volatile,upperdir=" UPPER_DIR "/%s/fs,workdir=" UPPER_DIR "/%s/work,lowerdir=", rootfs->id,
                 rootfs->id);
    for (size_t i = rootfs->n_luns; i > 0 && length < (int)sizeof options; i--)
        length += snprintf(options + length, sizeof options - (size_t)length, "%u%s", rootfs->luns[i - 1],
                           i > 1 ? ":" : "");
    if (rootfs->n_luns == 0)
        length += snprintf(options + length, sizeof options - (size_t)length, NO_LAYER_DIR);
    if (length >= (int)sizeof options)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "container %s has too many layers (%zu)", rootfs->id,
                     rootfs->n_luns);

    if (chdir(LAYERS_DIR) < 0)
        return fault_errno(ret_fault, "entering " LAYERS_DIR);
    bool ok = mount("overlay", target, "overlay", 0, options) == 0 ||
              fault_errno(ret_fault, "mounting the root of container %s (%s)", rootfs->id, options);
    if (chdir("/") < 0)
        complain("chdir /: %s", strerror(errno));
    return ok;
}

static bool make_directories(const char *id, const char *target, Fault *ret_fault)
{
    static const char *const names[] = {"", "/fs", "/work"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, UPPER_DIR "/%s%s", id, names[i]);
        if (!dir_put(path, i == 0 ? 0700 : 0755, ret_fault))
            return false;
    }
    return dir_put(target, 0755, ret_fault);
}

/* An image may hold one layer twice; overlayfs may not, and needs only the upper one. */
static bool comes_again(Disk *const *layers, size_t n_layers, size_t at)
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

DiskState rootfs_mount(const char *id, Disk *const *layers, size_t n_layers, Rootfs *ret_rootfs,
                       Fault *ret_fault)
{
    char target[256];
    Rootfs rootfs = {.n_luns = 0};

    if (n_layers > LAYERS_MAX) {
        fault(ret_fault, FAULT_INVALID_ARGUMENT, "container %s has more than %d layers", id, LAYERS_MAX);
        return DISK_FAILED;
    }
    for (size_t i = 0; i < n_layers; i++) {
        if (comes_again(layers, n_layers, i))
            continue;
        DiskState state = layer_acquire(layers[i], ret_fault);
        if (state != DISK_READY) {
            release_layers(&rootfs);
            return state;
        }
        rootfs.luns[rootfs.n_luns++] = layers[i]->lun;
    }
    snprintf(rootfs.id, sizeof rootfs.id, "%s", id);
    snprintf(target, sizeof target, CONTAINERS_DIR "/%s/rootfs", id);
    if (!make_directories(id, target, ret_fault) || !mount_overlay(&rootfs, target, ret_fault)) {
        release_layers(&rootfs);
        tree_remove_later(UPPER_DIR, id);
        return DISK_FAILED;
    }
    *ret_rootfs = rootfs;
    return DISK_READY;
}

size_t rootfs_unmount(Rootfs *rootfs, uint32_t *ret_released)
{
    char target[256];
    size_t n_released = 0;

    if (rootfs->id[0] == '\0')
        return 0;
    snprintf(target, sizeof target, CONTAINERS_DIR "/%s/rootfs", rootfs->id);
    if (umount2(target, 0) < 0 && umount2(target, MNT_DETACH) < 0)
        complain("unmounting %s: %s", target, strerror(errno));
    for (size_t i = 0; i < rootfs->n_luns; i++)
        if (layer_release(rootfs->luns[i]))
            ret_released[n_released++] = rootfs->luns[i];
    tree_remove_later(UPPER_DIR, rootfs->id);
    rootfs->id[0] = '\0';
    rootfs->n_luns = 0;
    return n_released;
}
