/* SPDX-License-Identifier: Apache-2.0 */
/* The PID namespace that the pod's containers share (CRI NamespaceMode POD). A small child of the agent is
 * its PID 1, so the namespace depends on no container. */
#pragma once

#include <stdbool.h>

#include "agent/guest/fault.h"

/* Makes the namespace at SANDBOX_DIR/ns/pid unless it exists. */
bool pidns_ensure(Fault *ret_fault);
