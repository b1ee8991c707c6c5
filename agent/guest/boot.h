/* What PID 1 does before it serves: mounts, kernel modules, limits. */
#pragma once

/* Leaves the initramfs root, which cannot be pivoted, for a mount that can; mounts /proc, /sys, /dev and the
 * rest, hands all cgroup controllers down. What fails is complained about: a guest without one of these may
 * still be able to tell the daemon so. */
void boot_mounts(void);

/* Makes the directories of paths.h, below RUN_DIR. */
void boot_directories(void);

/* Loads the modules that /etc/modules.crivirt lists: one absolute path a line, in this order; `#` comments.
 */
void boot_modules(void);

/* How many processes there may be: the kernel reckons that by the memory that it boots with, and a guest may
 * grow to many times as much. What limits them is the containers' control groups, and memory. */
void boot_process_limits(void);

/* Ours: never the OOM killer's choice, first in line for the processor, and the limits that containers start
 * from. */
void boot_limits(void);
