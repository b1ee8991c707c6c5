/* SPDX-License-Identifier: Apache-2.0 */
/* The way from a pod's network namespace into its guest: namespace, tap, and the redirect between them. All
 * by netlink and ioctl; threads that enter a namespace are short-lived, so the caller's thread never leaves
 * its own. */
#pragma once

#include <glib.h>

/* Makes /path/name (a bind-mounted network namespace with lo up); an existing one is ALREADY_EXISTS. Where
 * mounts are not shared (no systemd) the directory is bound over itself and shared, until its last namespace
 * goes. */
gboolean netns_create(const char *path, GError **error);
/* Unmounts and unlinks; a missing one is success. */
gboolean netns_delete(const char *path, GError **error);
/* FALSE without an error set when path is no network namespace. */
gboolean netns_exists(const char *path);

/* A persistent tap with vnet headers in the daemon's own namespace, down, for the hypervisor to open; owner
 * is the uid that may open it, mark its alias. ALREADY_EXISTS when the name is taken. */
gboolean tap_create(const char *name, guint owner, const char *mark, GError **error);
/* The names of those with that mark in the daemon's own namespace; the array frees them. */
gboolean tap_list(const char *mark, GPtrArray **ret_names, GError **error);
/* Moves it into the namespace and sets it up there with that MTU (0: unchanged); one that is there already is
 * only set up. */
gboolean tap_move(const char *name, const char *netns_path, guint mtu, GError **error);
/* Wherever it is: netns_path "" is the daemon's own. A missing one is success. */
gboolean tap_delete(const char *name, const char *netns_path, GError **error);

/* Redirects every frame between ifname and tap, both ways, before the namespace's own kernel sees it. Doing
 * it again is harmless. The addresses stay on ifname, although the guest has them: the kernel there hears
 * nothing any more, and plugins look for them at CHECK and DEL (without them bridge's DEL leaves its
 * masquerade rules behind). */
gboolean redirect_install(const char *netns_path, const char *ifname, const char *tap, GError **error);
