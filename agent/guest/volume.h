/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that the agent makes in the guest: an image's content (read-only), memory volumes, and the
 * directories that a container's image declares as volumes. They are mounted beside the container's rootfs;
 * crun binds them into it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

/* Where a container's layers and writable directory are. A layer's name is its unit. root_uid and root_gid
 * are the ids in the guest of the container's root. */
typedef struct {
    const char *id;
    char layers[256]; /* a directory: layers/LUN */
    char upper[256];  /* the container's directory on the pod's disk */
    uint32_t root_uid, root_gid;
} VolumeBase;

/* Mounts an image at CONTAINERS_DIR/id/vINDEX. luns: lowest first. Fails with NOT_FOUND for a sub_path that
 * the image does not have. */
bool volume_mount_image(const VolumeBase *base, uint32_t index, const uint32_t *luns, size_t n_luns,
                        const char *sub_path, Fault *ret_fault);

/* Mounts a memory volume at CONTAINERS_DIR/id/vINDEX. */
bool volume_mount_memory(const VolumeBase *base, const MemoryVolume *volume, Fault *ret_fault);

/* Mounts a declared volume at CONTAINERS_DIR/id/aNUMBER, with the content, owner and mode that the image has
 * at path. luns: the image's layers, lowest first. */
bool volume_mount_anonymous(const VolumeBase *base, const uint32_t *luns, size_t n_luns, size_t number,
                            const char *path, Fault *ret_fault);

/* Appends the names of the layers to the option, uppermost first, as in "lowerdir=3:2". Return: false when it
 * is too long. */
bool volume_lower_names(const uint32_t *luns, size_t n_luns, char *options, size_t room);
