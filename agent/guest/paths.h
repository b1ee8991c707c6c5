/* Where things are in the guest. The daemon writes some of these into the OCI configurations. */
#pragma once

#define RUN_DIR "/run/crivirt"
#define SANDBOX_DIR                                                                                          \
    RUN_DIR "/sandbox"              /* hosts, hostname, resolv.conf, shm/: bind-mounted into containers      \
                                     */
#define SHARE_DIR RUN_DIR "/share"  /* the pod's virtiofs share */
#define CONTAINERS_DIR RUN_DIR "/c" /* c/ID: bundle (config.json, rootfs/) */
#define LAYERS_DIR RUN_DIR "/l"     /* l/LUN: a layer's EROFS; short, because overlayfs options fit a page */
#define NO_LAYER_DIR LAYERS_DIR "/none" /* the lower directory of a container without layers */
#define UPPER_DIR RUN_DIR "/u"          /* u/ID: a container's writable directories, on the pod's disk */
#define MEMORY_DIR RUN_DIR "/m"         /* m/ID: a volume in memory */
#define CONSOLES_DIR RUN_DIR "/t"       /* sockets over which crun hands terminals; short for sun_path */
