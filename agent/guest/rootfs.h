/* A container's root: overlayfs of its layers, lowest first in the message and last in the mount, under a
 * writable directory on the pod's disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/disk.h"
#include "agent/guest/fault.h"

typedef struct {
    char id[129]; /* empty: there is none */
    size_t n_luns;
    uint32_t luns[LAYERS_MAX];
} Rootfs;

/* Mounts CONTAINERS_DIR/id/rootfs; that directory's parent exists. All or nothing. DISK_WAIT: a layer's disk
 * is not there yet. */
DiskState rootfs_mount(const char *id, Disk *const *layers, size_t n_layers, Rootfs *ret_rootfs,
                       Fault *ret_fault);

/* Unmounts, deletes the writable directories in the background; ret_released has room for LAYERS_MAX units
 * that nothing uses any more. Of an empty Rootfs: nothing. */
size_t rootfs_unmount(Rootfs *rootfs, uint32_t *ret_released);
