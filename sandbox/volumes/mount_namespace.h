/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts and unmounts in the mount namespace of another process. Each call makes a thread that enters the
 * namespace, so that the caller's namespace and directory do not change. Threads: any. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Moves a detached mount (open_tree(2)) to root/name in the namespace of pid; 0: the caller's own namespace.
 * name is resolved below root without links and other mounts. Errors: NOT_FOUND when the process has ended.
 */
gboolean mount_namespace_move(pid_t pid, int tree, const char *root, const char *name, GError **error);
/* Detaches the mount at path with the mounts below it. It is success when nothing is mounted there, or pid
 * has ended. */
gboolean mount_namespace_detach(pid_t pid, const char *path, GError **error);

/* Mounts in the namespace of pid, at the same names below its root, copies of all mounts that are below the
 * root of the namespace of that descriptor. Each copy has the properties of its original, and the mounts
 * below it. A mount whose directory was removed is left out. The descriptor may come from an untrusted
 * process: a namespace that another user namespace owns, in which an ordinary user may have mounted, is
 * refused, and so is one with a mount of a name that is_wanted refuses. */
gboolean mount_namespace_copy(int namespace_fd, pid_t pid, gboolean (*is_wanted)(const char *name),
                              GError **error);
