/* SPDX-License-Identifier: Apache-2.0 */
/* Checks what host pods need on the node: a file system for image layers in the kernel, and loop devices to
 * mount them; VMs bring their own. The check makes the kernel load its modules. Threads: any.
 */
#pragma once

#include <glib.h>

/* Where the agent finds crun (agent/guest/crun.h). */
#define NODE_CRUN "/usr/bin/crun"

#define NODE_KERNEL_LAYERS "erofs"
#define NODE_KERNEL_LOOP "/dev/loop-control"

/* Callers pass the constants above; tests pass names that no node has. Errors: FAILED_PRECONDITION with what
 * is missing, and what to do. */
gboolean node_kernel_check(const char *file_system, const char *loop_control, GError **error);
