/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices of the node for containers: those among a container's devices, and those that are the source
 * of a mount. Each becomes a disk of the guest, which the pod's containers share and which is unplugged when
 * the last of them is removed. */
#pragma once

#include "common/arena.h"
#include "sandbox/host/block_device.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pods/pod.h"

/* A block device that a container's configuration asks for; the strings are the configuration's. */
typedef struct {
    const char *host_path;
    const char *container_path;
    const char *permissions;
    gboolean is_mount;
    guint index; /* in the configuration's devices or mounts */
    BlockDevice device;
} BlockRequest;

/* Return: an array of BlockRequest, which the caller frees; it is empty for a host pod. A regular file
 * becomes a disk when it is the host_path of a device; as the source of a mount it stays a file. */
GArray *container_block_requests(const Container *container);
gboolean block_request_is_readonly(const BlockRequest *request);

/* Attaches the container's block devices to the VM, and asks the guest for their device numbers. Everything
 * in *ret_blocks lives in the arena. Errors: INVALID_ARGUMENT for a path in the container that is not
 * absolute, UNIMPLEMENTED for a pod in a user namespace, and those of the VM and its agent. */
gboolean container_blocks_attach(Container *container, const Deadline *deadline, Arena *arena,
                                 OciBlockDevice **ret_blocks, guint *ret_n_blocks, GError **error);

/* Sets container->blocks from the configuration of a container that an earlier daemon created. */
void container_blocks_restore(Container *container);

/* Detaches the container's block devices that no other container of the pod uses. */
gboolean container_blocks_release(Container *container, const Deadline *deadline, GError **error);

/* Return: whether the source of the mount is a block device, which becomes a disk of the guest. FALSE for
 * host pods. */
gboolean container_mount_is_block(const Container *container, const Runtime__V1__Mount *mount);
/* The same of a device, which may be a file. */
gboolean container_device_is_block(const Container *container, const Runtime__V1__Device *device);
/* Return: whether a block device is given to the container without the permission to write. */
gboolean container_device_is_readonly(const Runtime__V1__Device *device);
