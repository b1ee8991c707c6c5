/* Volumes that the guest makes itself: an image's content, read-only, and the directories that a container's
 * image declares as volumes. Both are mounted beside the container's root; crun binds them into it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

/* Where a container's layers and writable directory are: names of layers are their units. Root is who id 0 of
 * the container is in the guest. */
typedef struct {
    const char *id;
    char layers[256]; /* a directory: layers/LUN */
    char upper[256];  /* the container's directory on the pod's disk */
    uint32_t root_uid, root_gid;
} VolumeBase;

/* At CONTAINERS_DIR/id/vINDEX. luns: lowest first. NOT_FOUND for a sub_path that is not in the image. */
bool volume_mount_image(const VolumeBase *base, uint32_t index, const uint32_t *luns, size_t n_luns,
                        const char *sub_path, Fault *ret_fault);

/* At CONTAINERS_DIR/id/vINDEX. */
bool volume_mount_memory(const VolumeBase *base, const MemoryVolume *volume, Fault *ret_fault);

/* At CONTAINERS_DIR/id/aNUMBER, over what the mounted root has at path, whose owner and mode it takes. */
bool volume_mount_anonymous(const VolumeBase *base, size_t number, const char *path, Fault *ret_fault);

/* A unit's name behind the others, as in "lowerdir=3:2"; false when the option is too long. */
bool volume_lower_names(const uint32_t *luns, size_t n_luns, char *options, size_t room);
