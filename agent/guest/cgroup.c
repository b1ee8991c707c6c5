/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/cgroup_v1.h"
#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"

enum { TEXT_MAX = 8192, PATH_ROOM = 640 };

static bool read_file(const char *directory, const char *name, char *ret_text, size_t room)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return sysfile_read(path, ret_text, room);
}

/* Reads a file of one number. Return: 0 for "max", which means no limit. */
static uint64_t read_number(const char *directory, const char *name)
{
    char text[64];
    return read_file(directory, name, text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

typedef struct {
    const char *key;
    uint64_t *value;
} Key;

/* Reads a file of lines "key number". */
static void read_keys(const char *directory, const char *name, const Key *keys, size_t n_keys)
{
    char text[TEXT_MAX], *rest = NULL;
    if (!read_file(directory, name, text, sizeof text))
        return;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *space = strchr(line, ' ');
        if (space == NULL)
            continue;
        *space = '\0';
        for (size_t i = 0; i < n_keys; i++)
            if (strcmp(keys[i].key, line) == 0)
                *keys[i].value = strtoull(space + 1, NULL, 10);
    }
}
#define READ_KEYS(directory, name, ...)                                                                      \
    read_keys(directory, name, (const Key[]){__VA_ARGS__}, sizeof((const Key[]){__VA_ARGS__}) / sizeof(Key))

/* Sums up io.stat, which has a line for each device: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0".
 */
static void read_io(const char *directory, CgroupUsage *usage)
{
    const Key sums[] = {{"rbytes", &usage->io_read_bytes},
                        {"wbytes", &usage->io_write_bytes},
                        {"rios", &usage->io_reads},
                        {"wios", &usage->io_writes}};
    char text[TEXT_MAX], *rest = NULL;
    if (!read_file(directory, "io.stat", text, sizeof text))
        return;
    for (char *word = strtok_r(text, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest)) {
        char *equals = strchr(word, '=');
        if (equals == NULL)
            continue;
        *equals = '\0';
        for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
            if (strcmp(sums[i].key, word) == 0)
                *sums[i].value += strtoull(equals + 1, NULL, 10);
    }
}

/* Reads "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", and the same for "full". */
static bool read_pressure(const char *directory, const char *name, Pressure *pressure, PressureLine *lines)
{
    char text[512], *rest = NULL;
    bool any = false;
    crivirt__agent__v1__pressure__init(pressure);
    /* Where pressure is switched off the file may exist, but reading it fails with EOPNOTSUPP. */
    if (!read_file(directory, name, text, sizeof text))
        return false;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        bool full = strncmp(line, "full ", 5) == 0;
        PressureLine *target = &lines[full ? 1 : 0];
        unsigned long long total_us = 0;
        crivirt__agent__v1__pressure_line__init(target);
        if (sscanf(line, "%*s avg10=%lf avg60=%lf avg300=%lf total=%llu", /* NOLINT: the kernel's numbers */
                   &target->avg10, &target->avg60, &target->avg300, &total_us) != 4)
            continue;
        target->total_us = total_us;
        *(full ? &pressure->full : &pressure->some) = target;
        any = true;
    }
    return any;
}

static void read_pressures(const char *directory, CgroupReading *reading)
{
    static const char *const names[] = {"cpu.pressure", "memory.pressure", "io.pressure"};
    Pressure **const fields[] = {&reading->usage.cpu_pressure, &reading->usage.memory_pressure,
                                 &reading->usage.io_pressure};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (read_pressure(directory, names[i], &reading->pressures[i], &reading->lines[2 * i]))
            *fields[i] = &reading->pressures[i];
}

bool cgroup_of_process(int pid, char *ret_directory, size_t room)
{
    char path[64], text[TEXT_MAX];
    snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
    if (!sysfile_read(path, text, sizeof text))
        return false;
    /* Where only version 2 is mounted, "0::/path" is the only line. */
    if (strncmp(text, "0::/", 4) == 0 && strchr(text, '\n') == NULL && text[4] != '\0') {
        int n = snprintf(ret_directory, room, "%s%s", CGROUP_ROOT, text + 3);
        return (size_t)n < room;
    }
    return cgroup_v1_parse(text, CGROUP_ROOT, ret_directory, room);
}

bool cgroup_kill(const char *directory)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/cgroup.kill", directory);
    return directory[0] != '\0' && (sysfile_write(path, "1") || cgroup_v1_kill(directory));
}

bool cgroup_freeze(const char *directory, bool frozen)
{
    char path[PATH_ROOM];
    if (directory[0] == '\0' || cgroup_v1_is(directory)) {
        errno = ENOTSUP;
        return false;
    }
    snprintf(path, sizeof path, "%s/cgroup.freeze", directory);
    return sysfile_write(path, frozen ? "1" : "0");
}

bool cgroup_is_frozen(const char *directory)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/cgroup.events", directory);
    return sysfile_read_key(path, "frozen") == 1;
}

bool cgroup_is_empty(const char *directory)
{
    char path[PATH_ROOM];
    int pid;
    if (directory[0] == '\0')
        return true;
    if (cgroup_v1_is(directory))
        return cgroup_processes(directory, &pid, 1) == 0;
    snprintf(path, sizeof path, "%s/cgroup.events", directory);
    return sysfile_read_key(path, "populated") == 0;
}

int64_t cgroup_oom_kills(const char *directory)
{
    char path[PATH_ROOM];
    if (directory[0] == '\0')
        return 0;
    snprintf(path, sizeof path, "%s/memory.events", directory);
    return cgroup_v1_is(directory) ? cgroup_v1_oom_kills(directory) : sysfile_read_key(path, "oom_kill");
}

static bool take_processes(const char *directory, bool (*take)(int pid, void *data), void *data)
{
    char path[PATH_ROOM];
    bool more = true;
    int pid;

    snprintf(path, sizeof path, "%s/cgroup.procs", directory);
    FILE *list = fopen(path, "re");
    if (list == NULL)
        return true;
    while (more && fscanf(list, "%d", &pid) == 1) /* NOLINT: the kernel's numbers */
        more = take(pid, data);
    fclose(list);
    return more;
}

static bool walk_processes(char *directory, bool (*take)(int pid, void *data), void *data)
{
    size_t length = strlen(directory);
    bool more = take_processes(directory, take, data);
    DIR *list = more ? opendir(directory) : NULL;

    if (list == NULL)
        return more;
    for (struct dirent *entry = readdir(list); more && entry != NULL; entry = readdir(list)) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
            length + 1 + strlen(entry->d_name) >= PATH_ROOM)
            continue;
        snprintf(directory + length, PATH_ROOM - length, "/%s", entry->d_name);
        more = walk_processes(directory, take, data);
        directory[length] = '\0';
    }
    closedir(list);
    return more;
}

bool cgroup_each_process(const char *directory, bool (*take)(int pid, void *data), void *data)
{
    char path[PATH_ROOM];
    struct stat info;
    bool is_there = stat(directory, &info) == 0;

    if (!is_there || strlen(directory) >= sizeof path)
        return false;
    if (info.st_nlink <= 2) { /* it has no cgroups below it, as nearly always */
        take_processes(directory, take, data);
        return true;
    }
    strcpy(path, directory); /* NOLINT: it fits */
    walk_processes(path, take, data);
    return true;
}

static void remove_below(char *directory)
{
    size_t length = strlen(directory);
    DIR *list = opendir(directory);

    for (struct dirent *entry = NULL; list != NULL && (entry = readdir(list)) != NULL;) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
            length + 1 + strlen(entry->d_name) >= PATH_ROOM)
            continue;
        snprintf(directory + length, PATH_ROOM - length, "/%s", entry->d_name);
        remove_below(directory);
        rmdir(directory);
        directory[length] = '\0';
    }
    if (list != NULL)
        closedir(list);
}

bool cgroup_remove(const char *directory)
{
    char path[PATH_ROOM];

    if (strlen(directory) >= sizeof path || cgroup_v1_is(directory)) {
        errno = ENOTSUP;
        return false;
    }
    if (rmdir(directory) == 0 || errno == ENOENT)
        return true;
    strcpy(path, directory); /* NOLINT: it fits */
    remove_below(path);
    return rmdir(directory) == 0;
}

typedef struct {
    int *pids;
    size_t n, max;
} PidList;

static bool pid_store(int pid, void *data)
{
    PidList *list = data;
    if (list->n < list->max)
        list->pids[list->n++] = pid;
    return list->n < list->max;
}

size_t cgroup_processes(const char *directory, int *ret_pids, size_t max)
{
    PidList list = {ret_pids, 0, max};
    cgroup_each_process(directory, pid_store, &list);
    return list.n;
}

static bool pid_count(int pid, void *data)
{
    ++*(uint64_t *)data;
    return true;
}

void cgroup_read(const char *directory, CgroupReading *ret_reading)
{
    CgroupUsage *usage = &ret_reading->usage;

    crivirt__agent__v1__cgroup_usage__init(usage);
    cgroup_each_process(directory, pid_count, &usage->processes);
    if (cgroup_v1_is(directory)) {
        cgroup_v1_read(directory, usage);
        return;
    }
    READ_KEYS(directory, "cpu.stat", {"usage_usec", &usage->cpu_usage_us}, {"user_usec", &usage->cpu_user_us},
              {"system_usec", &usage->cpu_system_us}, {"nr_periods", &usage->cpu_periods},
              {"nr_throttled", &usage->cpu_throttled_periods}, {"throttled_usec", &usage->cpu_throttled_us});
    READ_KEYS(directory, "memory.stat", {"anon", &usage->memory_anon_bytes},
              {"file", &usage->memory_file_bytes}, {"kernel", &usage->memory_kernel_bytes},
              {"file_mapped", &usage->memory_mapped_bytes},
              {"inactive_file", &usage->memory_inactive_file_bytes}, {"pgfault", &usage->page_faults},
              {"pgmajfault", &usage->major_page_faults});
    READ_KEYS(directory, "memory.events", {"max", &usage->memory_max_hits}, {"oom_kill", &usage->oom_kills});
    usage->memory_current_bytes = read_number(directory, "memory.current");
    usage->memory_peak_bytes = read_number(directory, "memory.peak");
    usage->memory_max_bytes = read_number(directory, "memory.max");
    usage->swap_current_bytes = read_number(directory, "memory.swap.current");
    usage->swap_max_bytes = read_number(directory, "memory.swap.max");
    usage->threads = read_number(directory, "pids.current");
    usage->threads_max = read_number(directory, "pids.max");
    usage->huge_pages_bytes = read_number(directory, "hugetlb.2MB.current");
    read_io(directory, usage);
    read_pressures(directory, ret_reading);
}
