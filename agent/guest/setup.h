/* SPDX-License-Identifier: Apache-2.0 */
/* The pod that this guest is assigned to. */
#pragma once

#include <stdbool.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

/* Return: the id of the sandbox; empty before Setup. */
const char *setup_sandbox_id(void);
/* Makes the guest, which has a pod, the guest of another one: it gets the identity and the network of the
 * request, and nothing else of the network stays. The disk and the share stay as they are. */
bool setup_again(const SetupRequest *request, Fault *ret_fault);
/* For the agent of a host pod: its shared memory (shm) or its writable directories (upper) are mounted
 * already. */
void setup_given(bool shm, bool upper);
