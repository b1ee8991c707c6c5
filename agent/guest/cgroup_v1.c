/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/cgroup_v1.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/sysfile.h"

enum { SWEEPS_MAX = 100, NS_PER_US = 1000, TICKS_US = 10000 };

#define MEMORY "/memory/"

bool cgroup_v1_parse(const char *text, const char *root, char *ret_directory, size_t room)
{
    static const char key[] = ":memory:/";
    const char *line = strstr(text, key);

    if (line == NULL || line[sizeof key - 1] == '\n' || line[sizeof key - 1] == '\0')
        return false;
    const char *path = line + sizeof key - 1;
    int n = snprintf(ret_directory, room, "%s" MEMORY "%.*s", root, (int)strcspn(path, "\n"), path);
    return n > 0 && (size_t)n < room;
}

static bool file_of(const char *directory, const char *name, char *ret_path, size_t room)
{
    return snprintf(ret_path, room, "%s/%s", directory, name) < (int)room;
}

bool cgroup_v1_is(const char *directory)
{
    char path[640];
    return file_of(directory, "memory.usage_in_bytes", path, sizeof path) && access(path, F_OK) == 0;
}

static uint64_t read_number(const char *directory, const char *name)
{
    char path[640], text[64];
    return file_of(directory, name, path, sizeof path) && sysfile_read(path, text, sizeof text)
               ? strtoull(text, NULL, 10)
               : 0;
}

static uint64_t read_key(const char *directory, const char *name, const char *key)
{
    char path[640];
    return file_of(directory, name, path, sizeof path) ? (uint64_t)sysfile_read_key(path, key) : 0;
}

/* Return: 0 for no limit, which version 1 shows as the largest multiple of a page. */
static uint64_t read_limit(const char *directory, const char *name)
{
    uint64_t limit = read_number(directory, name);
    return limit < (uint64_t)1 << 62 ? limit : 0;
}

/* The container's directory in another hierarchy. */
static bool sibling(const char *directory, const char *controller, char *ret_directory, size_t room)
{
    const char *at = strstr(directory, MEMORY);
    if (at == NULL)
        return false;
    int n = snprintf(ret_directory, room, "%.*s/%s/%s", (int)(at - directory), directory, controller,
                     at + strlen(MEMORY));
    return n > 0 && (size_t)n < room;
}

static void read_memory(const char *directory, CgroupUsage *usage)
{
    usage->memory_current_bytes = read_number(directory, "memory.usage_in_bytes");
    usage->memory_peak_bytes = read_number(directory, "memory.max_usage_in_bytes");
    usage->memory_max_bytes = read_limit(directory, "memory.limit_in_bytes");
    usage->memory_max_hits = read_number(directory, "memory.failcnt");
    usage->memory_kernel_bytes = read_number(directory, "memory.kmem.usage_in_bytes");
    usage->memory_anon_bytes = read_key(directory, "memory.stat", "total_rss");
    usage->memory_file_bytes = read_key(directory, "memory.stat", "total_cache");
    usage->memory_mapped_bytes = read_key(directory, "memory.stat", "total_mapped_file");
    usage->memory_inactive_file_bytes = read_key(directory, "memory.stat", "total_inactive_file");
    usage->swap_current_bytes = read_key(directory, "memory.stat", "total_swap");
    usage->page_faults = read_key(directory, "memory.stat", "total_pgfault");
    usage->major_page_faults = read_key(directory, "memory.stat", "total_pgmajfault");
    usage->oom_kills = (uint64_t)cgroup_v1_oom_kills(directory);
}

static void read_processors(const char *directory, CgroupUsage *usage)
{
    char other[640];
    if (sibling(directory, "cpuacct", other, sizeof other)) {
        usage->cpu_usage_us = read_number(other, "cpuacct.usage") / NS_PER_US;
        usage->cpu_user_us = read_key(other, "cpuacct.stat", "user") * TICKS_US;
        usage->cpu_system_us = read_key(other, "cpuacct.stat", "system") * TICKS_US;
    }
    if (sibling(directory, "cpu", other, sizeof other)) {
        usage->cpu_periods = read_key(other, "cpu.stat", "nr_periods");
        usage->cpu_throttled_periods = read_key(other, "cpu.stat", "nr_throttled");
        usage->cpu_throttled_us = read_key(other, "cpu.stat", "throttled_time") / NS_PER_US;
    }
    if (sibling(directory, "pids", other, sizeof other)) {
        usage->threads = read_number(other, "pids.current");
        usage->threads_max = read_number(other, "pids.max");
    }
}

void cgroup_v1_read(const char *directory, CgroupUsage *usage)
{
    read_memory(directory, usage);
    read_processors(directory, usage);
}

int64_t cgroup_v1_oom_kills(const char *directory)
{
    return (int64_t)read_key(directory, "memory.oom_control", "oom_kill");
}

static bool kill_one(int pid, void *data)
{
    bool *any = data;
    *any = (pid > 1 && kill(pid, SIGKILL) == 0) || *any;
    return true;
}

bool cgroup_v1_kill(const char *directory)
{
    bool any = true;

    for (int i = 0; any && i < SWEEPS_MAX; i++) {
        any = false;
        if (!cgroup_each_process(directory, kill_one, &any))
            return i > 0;
        if (any)
            usleep(1000);
    }
    return true;
}
