/* SPDX-License-Identifier: Apache-2.0 */
/* A pod that runs in a VM: its guest and network, and the disks of a running guest. */
#pragma once

#include "sandbox/host/block_device.h"
#include "sandbox/pods/pod.h"

extern const PodPlatform vm_pod_platform;

/* For GuestEnvironment: describes the VM of a pod without limits or annotations. data is the manager; the
 * strings of the description are borrowed from its table of handlers. */
gboolean vm_pod_describe_default(gpointer data, DomainSpec *ret_spec, GError **error);

/* Attaches a layer at that place of a VM that no other thread works on yet. */
gboolean vm_pod_attach_layer_at(Pod *pod, const ImageLayer *layer, guint lun, GError **error);
/* The same for a block device of the node. */
gboolean vm_pod_attach_block_at(Pod *pod, const BlockAttachment *attachment, GError **error);
/* Attaches a block device of the node to the VM, unless it is attached already. */
gboolean vm_pod_attach_block(Pod *pod, const char *host_path, const BlockDevice *device, gboolean readonly,
                             const Deadline *deadline, guint *ret_lun, GError **error);
/* Detaches it and leaves nothing of it on the node. */
gboolean vm_pod_detach_block(Pod *pod, const char *key, const Deadline *deadline, GError **error);
