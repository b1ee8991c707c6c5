/* What the handlers work with. Made by main(), constant while the server runs. */
#pragma once

#include "cri-server/config/config.h"
#include "cri-server/streaming/stream_server.h"
#include "image-service/image_service.h"
#include "sandbox/sandbox.h"

struct Daemon {
    const Config *config;
    ImageService *images;
    SandboxManager *sandboxes;
    StreamServer *streams;
};
