/* A container's root: overlayfs of its layers, lowest first in the message and last in the mount, under a
 * writable directory on the pod's disk; and what is made like it: image volumes and anonymous ones
 * (volume.h).
 *
 * In a user namespace, id-mapped copies of the layers and the writable directory take their place: overlayfs
 * itself cannot be mapped by Linux 6.1. It keeps mounts of its own, so the copies are gone again when all is
 * mounted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/disk.h"
#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

enum { IMAGE_VOLUMES_MAX = 64, ANONYMOUS_VOLUMES_MAX = 64 };

typedef struct {
    char id[129]; /* empty: there is none */
    size_t n_luns;
    uint32_t luns[LAYERS_MAX]; /* of the root, then of the image volumes */
    size_t n_images;
    uint32_t images[IMAGE_VOLUMES_MAX]; /* indexes of ImageVolumes and MemoryVolumes that are mounted */
    size_t n_anonymous;
} Rootfs;

/* Mounts CONTAINERS_DIR/id/rootfs and the volumes; that directory's parent exists. All or nothing. DISK_WAIT:
 * a layer's disk is not there yet. userns_fd -1: no user namespace. */
DiskState rootfs_mount(const CreateContainerRequest *request, int userns_fd, Rootfs *ret_rootfs,
                       Fault *ret_fault);

/* Unmounts, deletes the writable directories in the background; ret_released has room for LAYERS_MAX units
 * that nothing uses any more. Of an empty Rootfs: nothing. */
size_t rootfs_unmount(Rootfs *rootfs, uint32_t *ret_released);
