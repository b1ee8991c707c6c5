/* SPDX-License-Identifier: Apache-2.0 */
/* What a container mounts beside its root: the node's directories through the pod's share, images as
 * read-only disks, the image's declared volumes, and the mappings of ids for all of them. */
#pragma once

#include "common/arena.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pods/pod.h"

typedef struct {
    OciMountSource *sources; /* parallel to the container's mounts */
    OciAnonymousVolume *anonymous;
    guint n_anonymous;
    OciBlockDevice *blocks;
    guint n_blocks;
} ContainerVolumes;

/* Brings them to the guest and tells it what to do with them (in create). Everything lives in the arena. A
 * volume image's id is recorded in the container's configuration. What has been done goes with
 * container_forget(). */
gboolean container_volumes_attach(Container *container, const Image *image, const Deadline *deadline,
                                  Arena *arena, ContainerVolumes *ret_volumes,
                                  Crivirt__Agent__V1__CreateContainerRequest *create, GError **error);

/* Attached layers as the guest's agent wants to hear of them. */
Crivirt__Agent__V1__Disk **container_disks(const GArray *layers, Arena *arena);
