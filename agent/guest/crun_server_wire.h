/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent sends to the crun that serves runs of crun (agent/guest/crun_preload.c). */
#pragma once

#include <stdint.h>

#define CRUN_SERVER_LIBRARY "/usr/lib/crivirt/crun-server.so"
#define CRUN_SERVER_NAME "crun-server" /* as ps(1) shows it */
#define CRUN_SERVER_VARIABLE "CRIVIRT_CRUN_SERVER"

enum {
    CRUN_SERVER_REQUEST_MAX = 8192,
    CRUN_SERVER_ARGUMENTS_MAX = 64,
};

/* The arguments follow, each with its NUL; three descriptors come with the packet. */
typedef struct {
    uint64_t mark;         /* process_tree.h; 0: none */
    int32_t oom_score_adj; /* of the run and its children */
    uint32_t padding;
} CrunServerRequest;
