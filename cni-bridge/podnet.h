/* The way from a pod's network namespace into its guest: namespace, tap, and the redirect between them. All
 * by netlink and ioctl; threads that enter a namespace are short-lived, so the caller's thread never leaves
 * its own. */
#pragma once

#include <glib.h>

/* Makes /path/name (a bind-mounted network namespace with lo up); an existing one is ALREADY_EXISTS. */
gboolean netns_create(const char *path, GError **error);
/* Unmounts and unlinks; a missing one is success. */
gboolean netns_delete(const char *path, GError **error);
/* FALSE without an error set when path is no network namespace. */
gboolean netns_exists(const char *path);

/* A persistent tap with vnet headers in the daemon's own namespace, down, for the hypervisor to open. owner:
 * uid that may open it. */
gboolean tap_create(const char *name, guint owner, GError **error);
/* Moves it into the namespace and sets it up there with that MTU (0: unchanged). */
gboolean tap_move(const char *name, const char *netns_path, guint mtu, GError **error);
/* Wherever it is: netns_path "" is the daemon's own. A missing one is success. */
gboolean tap_delete(const char *name, const char *netns_path, GError **error);

/* Takes ifname's addresses off (the guest has them) and redirects every frame between ifname and tap, both
 * ways. */
gboolean redirect_install(const char *netns_path, const char *ifname, const char *tap, GError **error);
