/* The PID namespace that the pod's containers share (CRI NamespaceMode POD): held by a small process of the
 * agent's that is its PID 1, so that no container has to outlive the others for it. */
#pragma once

#include <stdbool.h>

#include "agent/guest/fault.h"

/* Makes it unless it is there, at SANDBOX_DIR/ns/pid. */
bool pidns_ensure(Fault *ret_fault);
