#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a script in a directory as if that were the root of a node of its own, by the busybox of the bundle in it:
#   in-root.sh ROOT SCRIPT
# The node has mount, network and process namespaces of its own, so that nothing is left when the script ends: a chroot would not
# do, because who enters a process's mount namespace is at its root. It has this machine's kernel, /dev and /sys, and an empty /run.
set -euo pipefail
if [ "${3:-}" != inside ]; then
    exec unshare --mount --net --pid --ipc --uts --fork --kill-child --propagation private "$0" "$1" "$2" inside
fi
root=$1
ip link set lo up
mount --bind "$root" "$root"
cp "$2" "$root/script"
mkdir -p "$root"/{dev,proc,sys,run,tmp,old}
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
cd "$root"
pivot_root . old
busybox=/opt/crivirt/current/bin/busybox
exec -c "$busybox" sh -c "export PATH=/usr/sbin:/usr/bin:/sbin:/bin; umount -l /old; exec $busybox sh /script"
