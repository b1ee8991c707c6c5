/* An Image of the image service as the CRI describes it. */
#pragma once

#include "api.pb-c.h"
#include "common/arena.h"
#include "image-service/image_service.h"

Runtime__V1__Image *image_message(Arena *arena, const Image *image);
