/* The node's cgroup of a pod: what its virtual machine costs counts where the kubelet looks for the pod.
 *
 * The kubelet makes the pod's cgroup (cgroup_parent) and sets its limits; we add a child for the guest's
 * processes (QEMU, virtiofsd), because a cgroup with controllers below it may hold no process of its own in
 * version 2. Both versions and both ways of naming: "/kubepods/burstable/pod1" (cgroupfs) and
 * "kubepods-burstable-pod1.slice" (systemd,
 * https://www.freedesktop.org/software/systemd/man/systemd.slice.html).
 *
 * A pod's cgroup may be limited to less than its machine takes. There the child stands beside parent instead
 * of below it: cgroup_make_room(). All other functions find it in either place.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "common/deadline.h"

/* The path of parent below a hierarchy's root: a systemd slice is unfolded into its ancestors.
 * INVALID_ARGUMENT for what is no cgroup's name. */
gboolean cgroup_parent_path(const char *parent, char **ret_path, GError **error);

/* Moves the processes and their children into parent's child `name` in every hierarchy mounted below root
 * ("/sys/fs/cgroup"), making what is missing; in version 2 with all controllers that there are. */
gboolean cgroup_join(const char *root, const char *parent, const char *name, const pid_t *pids, gsize n_pids,
                     GError **error);

/* Where parent, but not what is above it, limits memory to less than needed_bytes, moves that child, and all
 * that is in it, beside parent, with parent's share of processor time. *ret_limit_bytes: the limit that was
 * too small, 0: none was. May be repeated. */
gboolean cgroup_make_room(const char *root, const char *parent, const char *name, guint64 needed_bytes,
                          guint64 *ret_limit_bytes, GError **error);

/* Notes on that child, wherever it is, whose it is, where the kernel keeps such a note (an extended
 * attribute).
 */
void cgroup_mark(const char *root, const char *parent, const char *name, const char *mark);
/* The directories of all children with that mark; the array frees them. */
GPtrArray *cgroup_list_marked(const char *root, const char *mark);
/* As cgroup_kill(), for one such directory. */
gboolean cgroup_kill_directory(const char *directory, const Deadline *deadline, GError **error);

/* KILL to all processes in that child and below it, whatever they fork meanwhile; then removes it. A missing
 * one is success. */
gboolean cgroup_kill(const char *root, const char *parent, const char *name, const Deadline *deadline,
                     GError **error);

/* Removes that child, once its processes are gone; a missing one is success. The parent is the kubelet's. */
gboolean cgroup_leave(const char *root, const char *parent, const char *name, GError **error);

/* How much processor time that child may take in each period; quota_us 0: no limit. INTERNAL when there is no
 * such child, or no hierarchy that limits processor time. */
gboolean cgroup_limit_cpu(const char *root, const char *parent, const char *name, gint64 quota_us,
                          gint64 period_us, GError **error);
