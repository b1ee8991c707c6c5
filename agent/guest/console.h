/* SPDX-License-Identifier: Apache-2.0 */
/* The socket over which crun passes a terminal to the agent: runc's console-socket protocol, one message with
 * the descriptor of the terminal's master.
 */
#pragma once

#include <stddef.h>

#include "agent/guest/fault.h"

/* Makes a listening socket at a short path of its own, and stores the path. Return: -1 with a fault. */
int console_listen(char *ret_path, size_t room, Fault *ret_fault);
/* Takes the descriptor that crun has sent, closes the socket and removes its path. Return: -1 when none was
 * sent. */
int console_take(int listen_fd);
