/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the CPU time and the memory of a process (proc(5), /proc/PID/stat and /proc/PID/statm). Threads: any.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    guint64 cpu_ns;       /* user and system time of all its threads */
    guint64 memory_bytes; /* the resident set */
    guint64 own_bytes;    /* the part of memory_bytes that no other process or file shares */
} ProcessCost;

/* Return: FALSE when the process does not exist (any more). */
gboolean process_cost_read(pid_t pid, ProcessCost *ret_cost);

/* The same, of the process and all its descendants together. */
gboolean process_cost_read_tree(pid_t pid, ProcessCost *ret_cost);

/* The same, from the contents of the two files; pure. */
gboolean process_cost_parse(const char *stat, const char *statm, ProcessCost *ret_cost);
