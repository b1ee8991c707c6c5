/* SPDX-License-Identifier: Apache-2.0 */
/* The block devices of pods that are saved. A saved guest has them as disks, and what is on them is not
 * saved: the pod that goes on gets the devices that its configuration names, at the same places.
 *
 * Errors: FAILED_PRECONDITION and NOT_FOUND with the field or the device. Threads: any.
 */
#pragma once

#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/pods/pod.h"

/* Return: an empty array of BlockAttachment, the caller's. While it exists, no one else can open the devices
 * in it that are written for himself alone. */
GArray *saved_blocks_new(void);

/* Adds the block devices of the containers to the checkpoint, whose containers are in the same order. Fails
 * when the guest has others besides, because it could not go on without them. */
gboolean saved_blocks_describe(Pod *pod, const GPtrArray *containers, Checkpoint *checkpoint, GError **error);
/* Finds the devices of a container's configuration for those that it has in the checkpoint, and adds them to
 * attachments. One that has another size, or that is used by another pod, is mounted, or is opened by another
 * program for itself alone is refused. */
gboolean saved_blocks_match(SandboxManager *manager, const CheckpointContainer *saved,
                            const Runtime__V1__ContainerConfig *config, GArray *attachments, GError **error);

/* Records in the directory of a saved state which block devices the guest has. */
gboolean saved_blocks_record(Pod *pod, int directory, GError **error);
/* Finds them again. Return: an array of BlockAttachment, the caller's; NULL when one is missing, has changed
 * its size, or is mounted or opened by another program for itself alone. */
GArray *saved_blocks_open(Pod *pod, int directory, GError **error);
