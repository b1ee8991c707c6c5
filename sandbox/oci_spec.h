/* Translates a CRI container into an OCI runtime configuration for the guest's crun
 * (https://github.com/opencontainers/runtime-spec). Pure: the same input gives the same text.
 *
 * What the CRI asks for and the guest cannot give is refused here, naming the field.
 */
#pragma once

#include "agent.pb-c.h"
#include "api.pb-c.h"
#include "image-service/image_service.h"

/* Where the pod's own files are in the guest (agent/guest). */
#define GUEST_SANDBOX_DIR "/run/crivirt/sandbox"
#define GUEST_SHARE_DIR "/run/crivirt/share"

typedef struct {
    const char *container_id;
    const Runtime__V1__PodSandboxConfig *pod;
    const Runtime__V1__ContainerConfig *config;
    const Image *image;
    /* For each of config->mounts, its source in the guest. */
    const char *const *mount_sources;
} OciSpecInput;

/* The configuration in the two pieces around process.user (agent.proto, CreateContainerRequest). */
gboolean oci_spec_build(const OciSpecInput *input, char **ret_before_user, char **ret_after_user,
                        GError **error);

/* Who the container runs as: the security context, else the image's user. Strings in *ret_user are borrowed
 * from the input or interned. */
gboolean oci_spec_user(const OciSpecInput *input, Crivirt__Agent__V1__User *ret_user, GError **error);

/* The container is in the pod's PID namespace, which the guest has to make for the first such one. */
gboolean oci_spec_shares_pid(const OciSpecInput *input);

/* The signal that stops the container: the CRI's, else the image's, else SIGTERM; INVALID_ARGUMENT for an
 * unknown name in the image. */
gboolean oci_spec_stop_signal(const OciSpecInput *input, int *ret_signal, GError **error);
