/* What pods on the node need of it, and guests bring along: crun, and in the kernel a file system for image
 * layers, and loop devices to mount them by.
 *
 * The kernel itself is asked, which loads its modules then: what cannot be had later cannot be had at all.
 */
#pragma once

#include <glib.h>

/* Where the agent looks for it (agent/guest/crun.h). */
#define NODE_CRUN "/usr/bin/crun"

#define NODE_KERNEL_LAYERS "erofs"
#define NODE_KERNEL_LOOP "/dev/loop-control"

/* FAILED_PRECONDITION: what is not there, and what would help. Callers pass the constants above, tests what
 * no node has. */
gboolean node_kernel_check(const char *file_system, const char *loop_control, GError **error);
