/* SPDX-License-Identifier: Apache-2.0 */
/* A packet socket at the interface of a hibernated pod, which keeps what is sent to the pod (wake_frames.h)
 * until the pod is awake.
 *
 * Packet sockets get a frame before the filters of tc do, so that redirect_suspend() does not keep it away.
 * The socket's own buffer is the queue: what does not fit is dropped, and sent again by who wants it to
 * arrive. The socket is readable when there is a frame.
 *
 * Ownership: the caller closes the socket, which keeps the namespace alive until then. Errors: of the kernel;
 * INVALID_ARGUMENT for addresses as in wake_frames.h. Threads: any; one at a time uses a socket.
 */
#pragma once

#include <glib.h>

/* addresses: CniAddress. Return: the socket, which does not block; -1 with the error. */
int wake_socket_open(const char *netns_path, const char *ifname, const GPtrArray *addresses, GError **error);
/* Keeps no further frame. Called before the redirect to the tap is there, or the guest would get frames
 * twice. */
gboolean wake_socket_pause(int fd, GError **error);
/* Sends what was kept to the guest, in its order. Return: how many frames the tap took. */
guint wake_socket_pass_on(int fd, const char *netns_path, const char *tap, GError **error);
/* Drops what was kept. */
void wake_socket_drain(int fd);
