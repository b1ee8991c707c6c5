/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's cgroup on the node: the kubelet finds the cost of the pod's VM there.
 *
 * The kubelet makes the pod's cgroup (cgroup_parent) and sets its limits. crivirt adds a child for the
 * processes of the VM (QEMU, virtiofsd), because in version 2 a cgroup that has controllers below it may have
 * no process of its own. Both versions of cgroups are supported, and both ways to name them:
 * "/kubepods/burstable/pod1" (cgroupfs) and "kubepods-burstable-pod1.slice" (systemd,
 * https://www.freedesktop.org/software/systemd/man/systemd.slice.html).
 *
 * Where systemd manages the cgroups, the child of a slice is a scope ("NAME.scope"; systemd_scope.h says
 * why).
 *
 * The limit of a pod's cgroup may be less than its VM needs. Then the child is placed beside parent instead
 * of below it (cgroup_make_room()); all other functions find it in either place.
 *
 * root is where cgroups are mounted, "/sys/fs/cgroup" except in tests; name is that of the child. Errors:
 * INVALID_ARGUMENT when parent is no cgroup's name; else those of the file system. Threads: any.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "common/cpu_list.h"
#include "common/deadline.h"

/* Finds the path of parent below the root of a hierarchy; a systemd slice is unfolded into its ancestors. The
 * caller frees *ret_path. */
gboolean cgroup_parent_path(const char *parent, char **ret_path, GError **error);

/* Moves the processes and their children into the child, in every hierarchy that is mounted below root.
 * Missing cgroups are made, in version 2 with all controllers that are available. */
gboolean cgroup_join(const char *root, const char *parent, const char *name, const pid_t *pids, gsize n_pids,
                     GError **error);

/* Where parent itself limits memory to less than needed_bytes, moves the child with its processes beside
 * parent, and gives it parent's share of CPU time. Limits above parent are left alone. *ret_limit_bytes is
 * the limit that was too small; 0: none was. May be called again. */
gboolean cgroup_make_room(const char *root, const char *parent, const char *name, guint64 needed_bytes,
                          guint64 *ret_limit_bytes, GError **error);

/* Sets the owner tag of the child as an extended attribute, where the file system supports that. */
void cgroup_set_owner_tag(const char *root, const char *parent, const char *name, const char *owner_tag);
/* Return: the directories of all cgroups with that owner tag; the array, which the caller frees, owns them.
 */
GPtrArray *cgroup_list_by_owner_tag(const char *root, const char *owner_tag);
/* Does what cgroup_kill() does, for one such directory. */
gboolean cgroup_kill_directory(const char *directory, const Deadline *deadline, GError **error);

/* Kills all processes in the child and below it, and those that they fork meanwhile; then removes it. A
 * missing child is success. */
gboolean cgroup_kill(const char *root, const char *parent, const char *name, const Deadline *deadline,
                     GError **error);

/* Return: how many processes of the child the kernel has killed for lack of memory, whosever limit or need it
 * was; 0 also when that cannot be read. */
guint64 cgroup_count_oom_kills(const char *root, const char *parent, const char *name);

/* Return: the most processes and threads that parent allows (pids.max); 0: no limit. */
guint64 cgroup_pids_max(const char *root, const char *parent);

/* Removes the child, whose processes have ended. A missing child is success. The kubelet removes parent. */
gboolean cgroup_leave(const char *root, const char *parent, const char *name, GError **error);

/* Limits the CPU time of the child in each period; quota_us 0: no limit. Errors: INTERNAL when there is no
 * such child, or no cpu controller. */
gboolean cgroup_limit_cpu(const char *root, const char *parent, const char *name, gint64 quota_us,
                          gint64 period_us, GError **error);

/* Limits the child to those CPUs and memory nodes of the node; an empty set: to what parent has at present.
 * Errors: INVALID_ARGUMENT for numbers that the node (version 1: parent) does not have, where the kernel
 * refuses them; INTERNAL when there is no such child, or no cpuset controller. */
gboolean cgroup_use_cpus(const char *root, const char *parent, const char *name, const CpuList *cpus,
                         const CpuList *mems, GError **error);
