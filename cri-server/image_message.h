/* SPDX-License-Identifier: Apache-2.0 */
/* Describes an Image of the image service in the CRI's message. */
#pragma once

#include "api.pb-c.h"
#include "common/arena.h"
#include "image-service/image_service.h"

/* Without `pinned`, which follows from the configuration. */
Runtime__V1__Image *image_message(Arena *arena, const Image *image);
