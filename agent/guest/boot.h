/* SPDX-License-Identifier: Apache-2.0 */
/* What PID 1 does before it serves the daemon: mounts, kernel modules, limits. */
#pragma once

/* Replaces the initramfs root, which pivot_root refuses, by a mount that it accepts; mounts /proc, /sys, /dev
 * and the rest; enables all cgroup controllers for containers. A failure is written to the console only,
 * because a guest without one of these may still be able to report to the daemon. */
void boot_mounts(void);

/* Makes the directories of paths.h, below RUN_DIR. */
void boot_directories(void);

/* Loads the modules that /etc/modules.crivirt lists, in its order: one absolute path in each line; `#` starts
 * a comment.
 */
void boot_modules(void);

/* Raises the limits of processes. The kernel computes them from the memory that it boots with, and a guest
 * may grow to many times that. The containers' cgroups and memory remain as limits. */
void boot_process_limits(void);

/* Sets the limits of descriptors, which containers inherit. */
void boot_limits(void);

/* In a guest: the OOM killer never chooses the agent, which has a high priority. On the node the daemon has
 * given the agent what it should have (common/children.def). */
void boot_protection(void);
