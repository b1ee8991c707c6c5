/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/process_cost.h"

#include <string.h>
#include <unistd.h>

#include "common/fileio.h"

enum { FILE_MAX_BYTES = 4096, TREE_DEPTH = 3 };

static gboolean number_at(char **fields, guint at, guint64 *ret_number)
{
    return at < g_strv_length(fields) &&
           g_ascii_string_to_unsigned(fields[at], 10, 0, G_MAXUINT64, ret_number, NULL);
}

gboolean process_cost_parse(const char *stat, const char *statm, ProcessCost *ret_cost)
{
    const char *after_name = strrchr(stat, ')'); /* the name may contain any byte, also brackets */
    const guint64 tick_ns = G_USEC_PER_SEC * G_GUINT64_CONSTANT(1000) / (guint64)sysconf(_SC_CLK_TCK);
    g_auto(GStrv) times = after_name != NULL ? g_strsplit(after_name, " ", -1) : NULL;
    g_auto(GStrv) pages = g_strsplit(statm, " ", -1);
    guint64 user;
    guint64 system;
    guint64 resident;
    guint64 shared;

    /* proc(5) counts from 1: utime is the 14th of stat, whose name is the second; resident the second of
     * statm. */
    if (times == NULL || !number_at(times, 14 - 2, &user) || !number_at(times, 15 - 2, &system) ||
        !number_at(pages, 2 - 1, &resident) || !number_at(pages, 3 - 1, &shared))
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
