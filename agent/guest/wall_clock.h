/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's time of day, which the daemon sets. The agent of a host pod refuses to, because its clock is
 * the node's. Return: false with the fault. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/guest/fault.h"

/* Sets the clock at once. wall_ns: nanoseconds since 1970. */
bool wall_clock_set(int64_t wall_ns, Fault *ret_fault);
