/* Files as block devices, through the node's loop driver (loop(4)). */
#pragma once

#include <stddef.h>

#include "agent/guest/fault.h"

/* A read-only device of the file that goes by itself with its last user. Its node; the descriptor keeps it
 * until it is mounted; -1 on failure. */
int loopdev_open(const char *path, char *ret_node, size_t room, Fault *ret_fault);
