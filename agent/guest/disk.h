/* SPDX-License-Identifier: Apache-2.0 */
/* SCSI disks that the daemon plugs in, identified by logical unit and serial, and the layers mounted from
 * them.
 *
 * The kernel takes some milliseconds to probe a hot-plugged disk, so callers call disk_find() again
 * (call_retry()) while it returns DISK_WAIT.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

enum {
    DISK_RETRY_MS = 3,
    DISK_TIMEOUT_MS = 15000,
    LAYERS_MAX = 400,
};

typedef enum {
    DISK_READY, /* ret_node is set */
    DISK_WAIT,  /* not there yet; the fault says what is missing, for the caller that gives up */
    DISK_FAILED,
} DiskState;

/* Finds the disk's node "/dev/sdX". A disk of another serial at the same unit that nothing uses is one that
 * the daemon has unplugged: it is removed, and the bus is scanned again. */
DiskState disk_find(const Disk *disk, char *ret_node, size_t room, Fault *ret_fault);

/* Mounts the layer at LAYERS_DIR/LUN unless it is mounted, and counts a user. Return: DISK_WAIT as
 * disk_find(). */
DiskState layer_acquire(const Disk *disk, Fault *ret_fault);
/* Removes a user, and unmounts the layer with the last one. Return: true when that was the last user. */
bool layer_release(uint32_t lun);
