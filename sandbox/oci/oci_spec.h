/* SPDX-License-Identifier: Apache-2.0 */
/* Translates a CRI container into an OCI runtime configuration for the guest's crun
 * (https://github.com/opencontainers/runtime-spec). Pure: the same input gives the same text.
 *
 * What the CRI asks for and the guest cannot give is refused here, naming the field.
 */
#pragma once

#include "agent.pb-c.h"
#include "api.pb-c.h"
#include "image-service/image_service.h"
#include "sandbox/oci/node_devices.h"

/* Where the pod's own files are in the guest (agent/guest). */
#define GUEST_SANDBOX_DIR "/run/crivirt/sandbox"
#define GUEST_SHARE_DIR "/run/crivirt/share"
#define GUEST_CONTAINERS_DIR "/run/crivirt/c"

/* Where one of config->mounts comes from. */
typedef struct {
    const char *path;       /* in the guest; NULL: it is not mounted, but a device (blocks) */
    gboolean node_readonly; /* the node refuses writes already */
} OciMountSource;

/* A disk of the guest that the container gets as a block device. */
typedef struct {
    const char *path;        /* in the container */
    const char *permissions; /* of r, w, m */
    gint64 major, minor;     /* the guest's */
    guint mode, uid, gid;    /* as on the node */
    gboolean is_mount;       /* asked for by config->mounts[index], else config->devices[index] */
    guint index;
} OciBlockDevice;

/* A directory that the image declares as a volume. */
typedef struct {
    const char *destination;
    const char *source; /* in the guest */
} OciAnonymousVolume;

/* A container of a pod that runs on the node itself. */
typedef struct {
    const char *cgroup;    /* below each hierarchy's root */
    const GArray *devices; /* NodeDevice: those of config, resolved */
    guint64 capabilities;  /* that "ALL" is, by number */
    int least_oom_score_adj;
} OciNode;

typedef struct {
    const OciNode *node; /* NULL: in a guest */
    const char *container_id;
    const Runtime__V1__PodSandboxConfig *pod;
    const Runtime__V1__ContainerConfig *config;
    const Image *image;
    const char *architecture;            /* the guest's, as uname says it */
    const OciMountSource *mount_sources; /* parallel to config->mounts */
    const OciAnonymousVolume *anonymous;
    guint n_anonymous;
    const OciBlockDevice *blocks;
    guint n_blocks;
    const char *seccomp_profile;     /* text of the Localhost profile; NULL: none is asked for */
    const char *target_container_id; /* whose PID namespace the container joins; NULL: nobody's */
} OciSpecInput;

/* The configuration in the two pieces around process.user (agent.proto, CreateContainerRequest). */
gboolean oci_spec_build(const OciSpecInput *input, char **ret_before_user, char **ret_after_user,
                        GError **error);

/* Who the container runs as: the security context, else the image's user. Strings in *ret_user are borrowed
 * from the input or interned. */
gboolean oci_spec_user(const OciSpecInput *input, Crivirt__Agent__V1__User *ret_user, GError **error);

/* linux.resources by itself, for a container that runs; in_guest: in a VM, else on the node. */
gboolean oci_spec_resources(const Runtime__V1__LinuxContainerResources *resources, gboolean in_guest,
                            char **ret_json, GError **error);

/* The container is in the pod's PID namespace, which the guest has to make for the first such one. */
gboolean oci_spec_shares_pid(const OciSpecInput *input);

/* The id (maybe a prefix) of the container whose PID namespace it asks for; NULL: it does not. */
const char *oci_spec_target(const Runtime__V1__ContainerConfig *config);

/* INVALID_ARGUMENT for a user namespace that cannot be had: a pod has one mapping each for users and groups,
 * the same length, from id 0. NULL is fine. */
gboolean oci_userns_check(const Runtime__V1__UserNamespace *options, GError **error);
/* The pod's user namespace, NULL when it has none of its own. */
const Runtime__V1__UserNamespace *oci_userns(const Runtime__V1__PodSandboxConfig *pod);

/* Without looking at the node: paths, flags that exclude each other, propagation that a guest cannot give. */
gboolean oci_mount_check(const Runtime__V1__Mount *mount, gboolean on_node, GError **error);
gboolean oci_mount_is_image(const Runtime__V1__Mount *mount);

/* The signal that stops the container: the CRI's, else the image's, else SIGTERM; INVALID_ARGUMENT for an
 * unknown name in the image. */
gboolean oci_spec_stop_signal(const OciSpecInput *input, int *ret_signal, GError **error);
