/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a Setup that makes a guest differ from every clone of it: random bytes for its random pool, and
 * the node's time of day. The Setup of a pod and that of a warm-up both need it.
 */
#pragma once

#include "common/arena.h"
#include "sandbox/agent/agent_calls.h"

enum { SETUP_ENTROPY_BYTES = 64 };

/* Sets the request's entropy and wall clock, each call to new ones. The bytes belong to the arena. Cannot
 * fail (ids.h). Threads: any. */
void setup_seed(AgentSetupRequest *setup, Arena *arena);
