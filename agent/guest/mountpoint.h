/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the mount points of a container's mounts where crun cannot: behind symbolic links in the rootfs whose
 * targets do not exist, such as /var/run/secrets where /var/run leads to /run and there is no /run. crun
 * makes all others itself.
 *
 * A mount point can lie in a volume that an earlier mount of the configuration puts there. crun has not
 * mounted it then, so the way is followed in the volume's source.
 *
 * The rootfs and the volumes are not trusted. Links are resolved inside them, and nothing outside them is
 * made or changed.
 */
#pragma once

#include <sys/types.h>

#include "agent/guest/fault.h"
#include "agent/guest/json.h"

/* A mount that comes before the one that is followed, and covers what is at its place. */
typedef struct MountpointVolume MountpointVolume;

/* Owner of what is made: the container's root. */
typedef struct {
    int rootfs_fd; /* the directory of the rootfs */
    uid_t uid;
    gid_t gid;
    const MountpointVolume *volumes; /* the latest first; NULL: none */
} MountpointRoot;

/* Follows path in the rootfs. If it meets a link whose target does not exist, it makes the target,
 * directories before it included: a directory, or an empty file when is_file is set and path ends there. */
bool mountpoint_make(const MountpointRoot *root, const char *path, bool is_file, Fault *ret_fault);

/* Calls mountpoint_make() for each mount of the configuration, in its order. */
bool mountpoints_make(const MountpointRoot *root, JsonSpan config, Fault *ret_fault);
