/* What of the node can become a disk of a guest: block devices, and regular files by way of a loop device. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    gboolean is_file;
    dev_t device; /* it; of a file: where it is */
    ino_t inode;  /* of a file */
    mode_t mode;  /* permissions, as the node has them */
    uid_t uid;
    gid_t gid;
} BlockDevice;

/* Follows links. FALSE without an error: it is neither, or not there. files FALSE: a regular file is neither.
 */
gboolean block_device_find(const char *host_path, gboolean files, BlockDevice *ret_device);

/* Names one thing of the node, however it was reached; the caller frees it. */
char *block_device_key(const BlockDevice *device, gboolean readonly);

/* Makes a node of the device at path, of that owner alone: a guest's QEMU, whose user may not open the node's
 * own. A file gets a loop device, which lasts until *ret_hold and whoever has opened the node have closed it;
 * *ret_hold is -1 when there is nothing to hold. FAILED_PRECONDITION when the node has no loop devices. */
gboolean block_device_make_node(const BlockDevice *device, const char *host_path, gboolean readonly,
                                const char *path, uid_t uid, gid_t gid, int *ret_hold, GError **error);
