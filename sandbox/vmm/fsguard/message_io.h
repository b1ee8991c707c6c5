/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes vhost-user messages with their descriptors on a Unix socket. */
#pragma once

#include "sandbox/vmm/fsguard/device.h"

/* Waits for a message. ret_fds has room for MESSAGE_FDS_MAX descriptors, which the caller closes. Return:
 * false when the other end has closed the connection, or has sent an invalid message. */
bool message_read(int fd, Message *ret_message, int *ret_fds, size_t *ret_n_fds);
/* Sends a message; the descriptors stay the caller's. Return: false when the other end has closed the
 * connection. */
bool message_write(int fd, const Message *message, const int *fds, size_t n_fds);
