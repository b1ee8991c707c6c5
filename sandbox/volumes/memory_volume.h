/* SPDX-License-Identifier: Apache-2.0 */
/* emptyDir volumes with the medium Memory. The kubelet mounts a tmpfs on the node for each. A VM pod has its
 * memory in the guest, so the guest makes a tmpfs of the same size and owner, and the node's stays empty.
 * Threads: any. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    char *id;            /* the same for all mounts of the volume */
    char *sub_path;      /* the part of the volume that is mounted; "": all */
    guint64 size_bytes;  /* 0: no limit */
    guint64 size_inodes; /* 0: the default of the guest's kernel */
    mode_t mode;
    uid_t uid;
    gid_t gid;
} MemoryVolume;

/* Return: whether host_path is exactly an emptyDir of the pod, in memory or not: DIR/pods/POD_UID/volumes/
 * kubernetes.io~empty-dir/NAME in canonical form. The kubelet's directory DIR can be anywhere, and no pod
 * chooses its uid. */
gboolean volume_is_empty_dir_of(const char *host_path, const char *pod_uid);

void memory_volume_clear(MemoryVolume *volume);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MemoryVolume, memory_volume_clear)

/* Finds the volume that host_path is in. Return: FALSE without an error when it is in no such volume. Errors:
 * UNIMPLEMENTED for a volume of huge pages. */
gboolean memory_volume_find(const char *host_path, MemoryVolume *ret_volume, GError **error);

/* Does the same with the text of a mountinfo (proc_pid_mountinfo(5)), for the number of a file system and a
 * path without symbolic links. mode, uid and gid are left alone. */
gboolean memory_volume_parse(const char *mountinfo, dev_t device, const char *real_path,
                             MemoryVolume *ret_volume, char **ret_mountpoint);
