/* SPDX-License-Identifier: Apache-2.0 */
/* What a container mounts besides its root: directories and files of the node through the pod's share,
 * images as read-only disks, volumes in the guest's memory, and the volumes that its image declares; with
 * the mappings of ids for all of them. */
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

/* Attaches the volumes to the guest, and adds to create what the agent has to do with them. Everything in
 * *ret_volumes and create lives in the arena. The id of a volume's image is recorded in the container's
 * configuration. After a failure, container_forget() removes what has been attached. */
gboolean container_volumes_attach(Container *container, const Image *image, const Deadline *deadline,
                                  Arena *arena, ContainerVolumes *ret_volumes,
                                  Crivirt__Agent__V1__CreateContainerRequest *create, GError **error);

/* Return: the name in the pod's share of that mount (volumes/share.h), which the caller frees; NULL: it is
 * not bound through the share. */
char *container_volume_name(const Container *container, guint index);
/* Binds that mount of a restored container by its name in the saved pod's share. */
gboolean container_volume_bind_again(Container *container, guint index, const char *name, GError **error);

/* Keeps the layers of the image that the container has at that mount on the node while it exists, and records
 * the image's id in its configuration. */
void container_image_volume_hold(Container *container, guint index, Image *image);

/* Return: the agent's messages for attached layers (PodLayer), in the arena. */
Crivirt__Agent__V1__Disk **container_disks(const GArray *layers, Arena *arena);

/* In an error of the guest about a mount, replaces the path by which the guest knows a volume by what the
 * client calls it: the host_path, or the image. */
void container_volumes_explain(const Container *container, const ContainerVolumes *volumes, GError **error);
