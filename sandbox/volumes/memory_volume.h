/* emptyDir volumes of medium Memory. The kubelet mounts a tmpfs on the node for each; in a pod that is a
 * virtual machine the memory has to be the guest's, which is the pod's own. So the guest makes a tmpfs of the
 * same size and owner, and the node's stays empty. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    char *id;            /* of the volume: the same for all that mount it */
    char *sub_path;      /* what of it is mounted; empty: all */
    guint64 size_bytes;  /* 0: no limit */
    guint64 size_inodes; /* 0: the guest's default */
    mode_t mode;
    uid_t uid;
    gid_t gid;
} MemoryVolume;

void memory_volume_clear(MemoryVolume *volume);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MemoryVolume, memory_volume_clear)

/* FALSE without an error: host_path is in no such volume. UNIMPLEMENTED: it is in one of huge pages. */
gboolean memory_volume_find(const char *host_path, MemoryVolume *ret_volume, GError **error);

/* The same from the text of a mountinfo (proc_pid_mountinfo(5)), for a file system's number and a path
 * without links; mode, owner are left alone. */
gboolean memory_volume_parse(const char *mountinfo, dev_t device, const char *real_path,
                             MemoryVolume *ret_volume, char **ret_mountpoint);
