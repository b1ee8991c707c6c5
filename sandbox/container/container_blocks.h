/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices of the node that a container is given: among its devices, or as the source of a mount. Each
 * is a disk of the guest, shared by the pod's containers that have it, and unplugged when the last of them is
 * removed. */
#pragma once

#include "common/arena.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pods/pod.h"

/* Plugs them in and finds out what the guest calls them. Everything in *ret_blocks lives in the arena. */
gboolean container_blocks_attach(Container *container, const Deadline *deadline, Arena *arena,
                                 OciBlockDevice **ret_blocks, guint *ret_n_blocks, GError **error);

/* What container->blocks was when a daemon before us made the container. */
void container_blocks_restore(Container *container);

/* Unplugs what no other container of the pod has. */
gboolean container_blocks_release(Container *container, const Deadline *deadline, GError **error);

/* The mount's source is a block device, which becomes a disk of the guest. */
gboolean container_mount_is_block(const Container *container, const Runtime__V1__Mount *mount);
