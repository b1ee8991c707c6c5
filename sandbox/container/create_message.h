/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the agent's message that creates a container: layers, user and OCI specification, from the CRI's
 * configuration and the image. */
#pragma once

#include "common/arena.h"
#include "image-service/image_service.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/pods/container.h"

/* Completes the message, to which container_volumes_attach() has added the volumes. layers: PodLayer.
 * Everything in the message lives in the arena, or is borrowed from the container. Sets
 * container->stop_signal. Errors: INVALID_ARGUMENT with the field's name, FAILED_PRECONDITION for a target
 * container that is not running. */
gboolean create_message_build(Container *container, const Image *image, const ContainerVolumes *volumes,
                              const GArray *layers, Arena *arena,
                              Crivirt__Agent__V1__CreateContainerRequest *create, GError **error);
