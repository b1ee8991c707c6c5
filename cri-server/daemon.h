/* SPDX-License-Identifier: Apache-2.0 */
/* The objects that the handlers use. main() creates them; they are constant while the server runs. */
#pragma once

#include "common/settings/live_settings.h"
#include "cri-server/config/config.h"
#include "cri-server/health.h"
#include "cri-server/streaming/stream_server.h"
#include "image-service/image_service.h"
#include "sandbox/sandbox.h"

struct Daemon {
    const Settings *settings; /* of the daemon's start, for options with RESTART; borrowed from live */
    LiveSettings *live;       /* the settings in force */
    ImageService *images;
    SandboxManager *sandboxes;
    StreamServer *streams;
    Health *health;           /* whether the daemon serves */
    struct RpcServer *server; /* for its figures */
};
