/* SPDX-License-Identifier: Apache-2.0 */
/* Files as block devices, through the node's loop driver (loop(4)). */
#pragma once

#include <stddef.h>

#include "agent/guest/fault.h"

/* Makes a read-only loop device of the file and stores the path of its node. The kernel removes the device
 * with its last user; until the device is mounted, the descriptor is that user. Return: the descriptor, -1
 * with a fault. */
int loopdev_open(const char *path, char *ret_node, size_t room, Fault *ret_fault);
