/* The socket over which crun hands us a terminal (runc's console-socket protocol: one message with the
 * master's descriptor).
 */
#pragma once

#include <stddef.h>

#include "agent/guest/fault.h"

/* A listening socket at a short path of its own, which ret_path gets. -1 with a fault. */
int console_listen(char *ret_path, size_t room, Fault *ret_fault);
/* The descriptor that was sent by now, or -1; closes the socket and removes its path. */
int console_take(int listen_fd);
