/* SCSI disks that the daemon plugged in: found by logical unit and serial, and the layers mounted from them.
 *
 * A hot-plugged disk takes the kernel some milliseconds to probe, so callers ask disk_find() again while it
 * says DISK_WAIT (call_retry()).
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
    DISK_WAIT,  /* not there yet; the fault says what is, for when patience ends */
    DISK_FAILED,
} DiskState;

/* ret_node: "/dev/sdX". A disk of another serial that nothing uses is taken for one that the daemon has
 * unplugged: it is removed, and the bus scanned again. */
DiskState disk_find(const Disk *disk, char *ret_node, size_t room, Fault *ret_fault);

/* Mounts the layer at LAYERS_DIR/LUN unless it is, and counts a user. DISK_WAIT as disk_find(). */
DiskState layer_acquire(const Disk *disk, Fault *ret_fault);
/* True when that was its last user: it is unmounted. */
bool layer_release(uint32_t lun);
