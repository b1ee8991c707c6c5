/* SPDX-License-Identifier: Apache-2.0 */
/* Translates the CRI's configuration of a container into an OCI runtime configuration for crun
 * (https://github.com/opencontainers/runtime-spec). Pure: the same input gives the same text.
 *
 * Errors: INVALID_ARGUMENT, or UNIMPLEMENTED for what a guest does not have; the message names the field of
 * the CRI.
 */
#pragma once

#include "agent.pb-c.h"
#include "api.pb-c.h"
#include "common/settings/settings.h"
#include "image-service/image_service.h"
#include "sandbox/oci/node_devices.h"

/* Where the pod's files are in the guest (agent/guest). */
#define GUEST_SANDBOX_DIR "/run/crivirt/sandbox"
#define GUEST_SHARE_DIR "/run/crivirt/share"
#define GUEST_CONTAINERS_DIR "/run/crivirt/c"

/* The source of one of config->mounts. */
typedef struct {
    const char *path;       /* in the guest; NULL: it is not mounted, but one of the block devices */
    gboolean node_readonly; /* the node refuses writes */
} OciMountSource;

/* A disk of the guest that the container gets as a block device. */
typedef struct {
    const char *path;        /* in the container */
    const char *permissions; /* letters of r, w and m */
    gint64 major, minor;     /* in the guest */
    guint mode, uid, gid;    /* as on the node */
    gboolean is_mount;       /* it is config->mounts[index], else config->devices[index] */
    guint index;
} OciBlockDevice;

/* A directory that the image declares as a volume. */
typedef struct {
    const char *destination;
    const char *source; /* in the guest */
} OciAnonymousVolume;

/* What a container of a host pod needs besides. */
typedef struct {
    const char *cgroup;    /* below the root of each hierarchy */
    const GArray *devices; /* NodeDevice: the resolved devices of config */
    guint64 capabilities;  /* the set that "ALL" stands for, by number */
    int least_oom_score_adj;
} OciNode;

typedef struct {
    const OciNode *node; /* NULL: the container is in a guest */
    const char *container_id;
    const Runtime__V1__PodSandboxConfig *pod;
    const Runtime__V1__ContainerConfig *config;
    const Image *image;
    const Handler *handler;              /* whose defaults the container has; NULL: none */
    gboolean has_localtime;              /* the guest has the file of the handler's time zone */
    const char *architecture;            /* the guest's, as uname -m prints it */
    const OciMountSource *mount_sources; /* parallel to config->mounts */
    const OciAnonymousVolume *anonymous;
    guint n_anonymous;
    const OciBlockDevice *blocks;
    guint n_blocks;
    const char *seccomp_profile;     /* the text of the Localhost profile; NULL: none */
    const char *target_container_id; /* the container whose PID namespace it joins; NULL: none */
} OciSpecInput;

/* Builds the configuration as the two pieces around process.user (agent.proto, CreateContainerRequest), which
 * the caller frees. */
gboolean oci_spec_build(const OciSpecInput *input, char **ret_before_user, char **ret_after_user,
                        GError **error);

/* Finds the user of the container: that of the security context, else the image's. Strings in *ret_user are
 * borrowed from the input, or interned. */
gboolean oci_spec_user(const OciSpecInput *input, Crivirt__Agent__V1__User *ret_user, GError **error);

/* Builds linux.resources alone, for a running container. in_guest: of a VM pod; else of a host pod. The
 * caller frees *ret_json. */
gboolean oci_spec_resources(const Runtime__V1__LinuxContainerResources *resources, gboolean in_guest,
                            char **ret_json, GError **error);

/* Return: whether the container is in the pod's PID namespace, which the guest makes for the first such
 * container. */
gboolean oci_spec_shares_pid(const OciSpecInput *input);

/* Return: the id, or its prefix, of the container whose PID namespace config asks for; NULL: none. */
const char *oci_spec_target(const Runtime__V1__ContainerConfig *config);

/* Checks the user namespace: a pod has one mapping for users and one for groups, of the same length, from id
 * 0 on. options may be NULL. */
gboolean oci_userns_check(const Runtime__V1__UserNamespace *options, GError **error);
/* Return: the pod's user namespace; NULL: it has none of its own. */
const Runtime__V1__UserNamespace *oci_userns(const Runtime__V1__PodSandboxConfig *pod);

/* Checks a mount without using the node: paths, flags that exclude each other, propagation that is impossible
 * in a guest. */
gboolean oci_mount_check(const Runtime__V1__Mount *mount, gboolean on_node, GError **error);
gboolean oci_mount_is_image(const Runtime__V1__Mount *mount);

/* Finds the signal that stops the container: the CRI's, else the image's, else SIGTERM. Errors:
 * INVALID_ARGUMENT for an unknown name in the image. */
gboolean oci_spec_stop_signal(const OciSpecInput *input, int *ret_signal, GError **error);
