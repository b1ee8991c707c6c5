/* What a process costs this node: proc(5), /proc/PID/stat and /proc/PID/statm. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    guint64 cpu_ns;       /* user and system time, of all its threads */
    guint64 memory_bytes; /* resident set */
    guint64 own_bytes;    /* of that, what it shares with no other process or file */
} ProcessCost;

/* FALSE: there is no such process (any more). */
gboolean process_cost_read(pid_t pid, ProcessCost *ret_cost);

/* The same of the process and all its descendants together. */
gboolean process_cost_read_tree(pid_t pid, ProcessCost *ret_cost);

/* The contents of the two files. */
gboolean process_cost_parse(const char *stat, const char *statm, ProcessCost *ret_cost);
