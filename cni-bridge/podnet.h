/* SPDX-License-Identifier: Apache-2.0 */
/* The path of frames from a pod's network namespace into its guest: the namespace, the tap, and the redirect
 * between them, by netlink and ioctl.
 *
 * Errors: as stated, and INTERNAL or PERMISSION_DENIED from the kernel. Threads: any; a short-lived thread
 * enters a namespace, so that the caller's thread stays in its own. */
#pragma once

#include <glib.h>

/* Makes /path/name (a bind-mounted network namespace with lo up); an existing one is ALREADY_EXISTS. Where
 * mounts are not shared (no systemd) the directory is bound over itself and shared until its last namespace
 * is deleted. */
gboolean netns_create(const char *path, GError **error);
/* Unmounts and unlinks; a missing one is success. */
gboolean netns_delete(const char *path, GError **error);
/* Return: whether path is a network namespace. */
gboolean netns_exists(const char *path);
/* Runs function(data) in the namespace, on a thread that ends with it; sockets that it opens stay in the
 * namespace. Return: what it returns, its error with the path before it. */
gboolean netns_run(const char *path, gboolean (*function)(gpointer data, GError **error), gpointer data,
                   GError **error);

/* Makes a persistent tap with vnet headers in the daemon's own namespace, down, which the hypervisor opens.
 * owner is the uid that may open it; the owner tag becomes its alias. ALREADY_EXISTS when the name is taken.
 */
gboolean tap_create(const char *name, guint owner, const char *owner_tag, GError **error);
/* The names of the taps with that owner tag in the daemon's own namespace; the array frees them. */
gboolean tap_list(const char *owner_tag, GPtrArray **ret_names, GError **error);
/* Moves the tap into the namespace and sets it up there with that MTU (0: unchanged). A tap that is in the
 * namespace already is only set up. */
gboolean tap_move(const char *name, const char *netns_path, guint mtu, GError **error);
/* Deletes the tap in the namespace ("": the daemon's own). A missing one is success. */
gboolean tap_delete(const char *name, const char *netns_path, GError **error);

/* Redirects every frame of ifname to the tap, before the namespace's own kernel sees it, and from the tap to
 * ifname the frames that own_frames.h lets pass with own_addresses (CniAddress) and the MAC address of
 * ifname. The ingress qdisc of the tap counts the others as dropped. own_addresses NULL: every frame of the
 * tap. It may be called again. The addresses stay on ifname although the guest has them: no frame reaches the
 * namespace's kernel, and plugins look for the addresses at CHECK and DEL (without them the DEL of bridge
 * leaves its masquerade rules behind). */
gboolean redirect_install(const char *netns_path, const char *ifname, const char *tap,
                          const GPtrArray *own_addresses, GError **error);

/* For a pod without a VM: ends the redirect to the tap, which may be gone, and lets the namespace's kernel
 * answer ARP and neighbour discovery for the addresses on ifname, and see nothing else (wake_frames.h).
 * redirect_install() takes precedence over it from its first frame on, so that the kernel sees none in
 * between either. It may be called again. */
gboolean redirect_suspend(const char *netns_path, const char *ifname, GError **error);
