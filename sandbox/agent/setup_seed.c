/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/setup_seed.h"

#include "common/ids.h"

void setup_seed(AgentSetupRequest *setup, Arena *arena)
{
    guint8 *entropy = arena_alloc(arena, SETUP_ENTROPY_BYTES);

    random_fill(entropy, SETUP_ENTROPY_BYTES);
    setup->entropy = (ProtobufCBinaryData){.len = SETUP_ENTROPY_BYTES, .data = entropy};
    setup->wall_clock_ns = time_now_ns();
}
