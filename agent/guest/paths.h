/* SPDX-License-Identifier: Apache-2.0 */
/* Paths in the guest, and in the mount namespace of a host pod's agent. The daemon writes some of them into
 * the OCI configurations. */
#pragma once

#define CGROUP_ROOT "/sys/fs/cgroup"
#define PODS_CGROUP CGROUP_ROOT "/crivirt" /* a guest's: the containers' cgroups are in it */

#define RUN_DIR "/run/crivirt"
#define SANDBOX_DIR                                                                                          \
    RUN_DIR "/sandbox"              /* hosts, hostname, resolv.conf, shm/: bind-mounted into containers      \
                                     */
#define SHARE_DIR RUN_DIR "/share"  /* the pod's virtiofs share */
#define CONTAINERS_DIR RUN_DIR "/c" /* c/ID: a container's bundle (config.json, rootfs/) */
#define LAYERS_DIR                                                                                           \
    RUN_DIR "/l" /* l/LUN: a layer's EROFS; a short path, because overlayfs options fit a page */
#define NO_LAYER_DIR LAYERS_DIR "/none" /* the lower directory of a container without layers */
#define UPPER_DIR RUN_DIR "/u"    /* u/ID: a container's writable directories, on the pod's writable disk */
#define MEMORY_DIR RUN_DIR "/m"   /* m/ID: a memory volume */
#define CONSOLES_DIR RUN_DIR "/t" /* sockets over which crun passes terminals; a short path, for sun_path */
