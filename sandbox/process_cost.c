#include "sandbox/process_cost.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fileio.h"

enum { FILE_MAX_BYTES = 4096, TREE_DEPTH = 3 };

gboolean process_cost_parse(const char *stat, const char *statm, ProcessCost *ret_cost)
{
    const char *after_name = strrchr(stat, ')'); /* the name may hold anything, brackets too */
    const guint64 tick_ns = G_USEC_PER_SEC * G_GUINT64_CONSTANT(1000) / (guint64)sysconf(_SC_CLK_TCK);
    guint64 user;
    guint64 system;
    guint64 resident;
    guint64 shared;

    /* Fields 14 and 15 of stat, counted from 1; the name is the second. */
    if (after_name == NULL ||
        sscanf(after_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user,
               &system) != 2 ||
        sscanf(statm, "%*u %" SCNu64 " %" SCNu64, &resident, &shared) != 2)
        return FALSE;
    ret_cost->cpu_ns = (user + system) * tick_ns;
    ret_cost->memory_bytes = resident * (guint64)sysconf(_SC_PAGESIZE);
    ret_cost->own_bytes = (resident - MIN(resident, shared)) * (guint64)sysconf(_SC_PAGESIZE);
    return TRUE;
}

gboolean process_cost_read(pid_t pid, ProcessCost *ret_cost)
{
    g_autofree char *stat_path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *statm_path = g_strdup_printf("/proc/%d/statm", (int)pid);
    g_autofree char *stat = NULL;
    g_autofree char *statm = NULL;

    return file_read(stat_path, FILE_MAX_BYTES, &stat, NULL, NULL) &&
           file_read(statm_path, FILE_MAX_BYTES, &statm, NULL, NULL) &&
           process_cost_parse(stat, statm, ret_cost);
}

static void add_process(pid_t pid, guint depth, ProcessCost *sum)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children", (int)pid, (int)pid);
    g_autofree char *text = NULL;
    g_auto(GStrv) children = NULL;
    ProcessCost one;

    if (!process_cost_read(pid, &one))
        return;
    sum->cpu_ns += one.cpu_ns;
    sum->memory_bytes += one.memory_bytes;
    sum->own_bytes += one.own_bytes;
    if (depth == 0 || !file_read(path, FILE_MAX_BYTES, &text, NULL, NULL))
        return;
    children = g_strsplit(text, " ", -1);
    for (guint i = 0; children[i] != NULL; i++)
        if (g_ascii_isdigit(*children[i]))
            add_process((pid_t)g_ascii_strtoll(children[i], NULL, 10), depth - 1, sum);
}

gboolean process_cost_read_tree(pid_t pid, ProcessCost *ret_cost)
{
    ProcessCost sum = {0};

    add_process(pid, TREE_DEPTH, &sum);
    if (sum.memory_bytes == 0)
        return FALSE;
    *ret_cost = sum;
    return TRUE;
}
