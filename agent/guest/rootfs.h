/* SPDX-License-Identifier: Apache-2.0 */
/* A container's rootfs: an overlayfs of its layers (lowest first in the message, last in the mount options)
 * under a writable directory on the pod's writable disk, and the container's image, memory and anonymous
 * volumes (volume.h).
 *
 * For a container in a user namespace, id-mapped copies of the layers and of the writable directory are used,
 * because Linux 6.1 cannot map an overlayfs. The overlayfs keeps its own mounts, so the copies are unmounted
 * once all is mounted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/disk.h"
#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

typedef struct {
    char id[129]; /* empty: nothing is mounted */
    size_t n_luns;
    uint32_t luns[LAYERS_MAX]; /* of the rootfs, then of the image volumes */
    size_t n_images;
    uint32_t *images; /* indexes of the ImageVolumes and MemoryVolumes that are mounted; owned */
    size_t n_anonymous;
} Rootfs;

/* Mounts CONTAINERS_DIR/id/rootfs and the volumes, all or nothing; CONTAINERS_DIR/id exists. userns_fd -1: no
 * user namespace. Return: DISK_WAIT when the disk of a layer is not there yet. */
DiskState rootfs_mount(const CreateContainerRequest *request, int userns_fd, Rootfs *ret_rootfs,
                       Fault *ret_fault);

/* The ids in the guest of the container's root: not 0 when the pod has a user namespace. */
void rootfs_owner(const CreateContainerRequest *request, uint32_t *ret_uid, uint32_t *ret_gid);

/* Unmounts everything and deletes the writable directories in the background; does nothing for an empty
 * Rootfs. ret_released has room for LAYERS_MAX units. Return: the number of units stored there, which nothing
 * uses any more. */
size_t rootfs_unmount(Rootfs *rootfs, uint32_t *ret_released);
