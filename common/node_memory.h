/* SPDX-License-Identifier: Apache-2.0 */
/* The node's memory, as the kernel estimates it (proc_meminfo(5)). Any thread. */
#pragma once

#include <glib.h>

typedef struct NodeMemory {
    guint64 total_bytes;
    guint64 available_bytes; /* for new programs without swapping: what is free, or easily freed */
} NodeMemory;

/* path: NULL for /proc/meminfo. Errors: those of reading the file; INTERNAL names a field that it lacks. */
gboolean node_memory_read(const char *path, NodeMemory *ret_memory, GError **error);
