/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices of the node, and regular files through a loop device, that become disks of a VM. Threads:
 * any. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    gboolean is_file;
    dev_t device; /* the device; of a file: its file system */
    ino_t inode;  /* of a file only */
    mode_t mode;  /* the permissions on the node */
    uid_t uid;
    gid_t gid;
} BlockDevice;

/* Looks up a path; symbolic links are followed. files: regular files are wanted, too. Return: FALSE when the
 * path is not such a file or device, or does not exist. */
gboolean block_device_find(const char *host_path, gboolean files, BlockDevice *ret_device);

/* Return: a name for the device or file, the same for all its paths; the caller frees it. */
char *block_device_key(const BlockDevice *device, gboolean readonly);

/* Return: whether the key of a disk is that of a device or file; the others are digests of layers. */
gboolean block_device_is_key(const char *key);
/* The size that a guest sees: of a file, whole sectors. */
gboolean block_device_size(const char *host_path, guint64 *ret_bytes, GError **error);
/* Keeps everyone else from opening the device for himself alone, as mount does, while *ret_hold, which the
 * caller closes, is open; a file is locked by flock(). Others may open it as VMs do. Errors:
 * FAILED_PRECONDITION when another program or a mount has it. */
gboolean block_device_hold(const char *host_path, const BlockDevice *device, int *ret_hold, GError **error);

/* A device that becomes a disk of a guest at a place that the guest knows already. */
typedef struct {
    guint lun;
    char *host_path;
    BlockDevice device;
    gboolean readonly;
    int hold; /* block_device_hold(); -1: none */
} BlockAttachment;

/* A device node to make. */
typedef struct {
    const char *path;
    gboolean readonly;
    uid_t uid; /* the only user who may open it: QEMU's, who may not open the node's own */
    gid_t gid;
} BlockDeviceNode;

/* Makes a device node for the device that host_path is. A file gets a loop device, which exists until
 * *ret_hold and all who have opened the device node have closed it; *ret_hold is -1 when there is nothing to
 * hold. Errors: FAILED_PRECONDITION when the node has no loop devices. */
gboolean block_device_make_node(const BlockDevice *device, const char *host_path, const BlockDeviceNode *node,
                                int *ret_hold, GError **error);
