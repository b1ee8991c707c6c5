/* SPDX-License-Identifier: Apache-2.0 */
/* Stats: what the containers use, from the kernel's counters, in one response. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/call.h"
#include "agent/guest/cgroup.h"
#include "agent/guest/container.h"
#include "agent/guest/measure.h"
#include "agent/guest/netdev.h"
#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"

enum {
    INTERFACES_MAX = 32,
    LOOKED_AT_MAX = 256,    /* processes of one container whose descriptors are counted */
    DESCRIPTORS_MAX = 4096, /* descriptors of one process that are counted */
    FIRST_MEASURE_MS = 300, /* how long the response waits for a writable layer that was never measured */
    RETRY_MS = 15,
};

/* One container's part of the response. */
typedef struct {
    ContainerUsage usage;
    CgroupReading cgroup;
    DiskUsage writable;
    ProcessesUsage processes;
} Reading;

/* ---- processes ---- */

static void count_descriptors(int pid, ProcessesUsage *usage)
{
    char path[64], target[16];
    unsigned n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return;
    for (struct dirent *entry = readdir(directory); entry != NULL && n < DESCRIPTORS_MAX;
         entry = readdir(directory)) {
        if (entry->d_name[0] == '.')
            continue;
        n++;
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target);
        usage->sockets += length > 7 && memcmp(target, "socket:", 7) == 0;
    }
    usage->descriptors += n;
    closedir(directory);
}

static uint64_t open_files_limit(int pid)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/limits", pid);
    if (!sysfile_read(path, text, sizeof text))
        return 0;
    const char *line = strstr(text, "Max open files");
    return line != NULL ? strtoull(line + strlen("Max open files"), NULL, 10) : 0;
}

static void read_processes(const Container *container, ProcessesUsage *ret_usage)
{
    int pids[LOOKED_AT_MAX];
    size_t n = cgroup_processes(container->cgroup, pids, LOOKED_AT_MAX);

    crivirt__agent__v1__processes_usage__init(ret_usage);
    for (size_t i = 0; i < n; i++)
        count_descriptors(pids[i], ret_usage);
    ret_usage->max_open_files = open_files_limit(container->process->pid);
}

/* ---- containers ---- */

static bool is_counted(const Container *container)
{
    return (container->state == CONTAINER_CREATED || container->state == CONTAINER_RUNNING) &&
           container->cgroup[0] != '\0';
}

static void read_container(const Container *container, bool with_processes, Reading *ret_reading)
{
    crivirt__agent__v1__container_usage__init(&ret_reading->usage);
    ret_reading->usage.id = (char *)container->id;
    cgroup_read(container->cgroup, &ret_reading->cgroup);
    ret_reading->usage.cgroup = &ret_reading->cgroup.usage;
    if (container->writable.at_ns != 0) {
        crivirt__agent__v1__disk_usage__init(&ret_reading->writable);
        ret_reading->writable.bytes = container->writable.bytes;
        ret_reading->writable.inodes = container->writable.inodes;
        ret_reading->writable.age_ms =
            (uint64_t)((clock_monotonic_ns() - container->writable.at_ns) / 1000000);
        ret_reading->usage.writable = &ret_reading->writable;
    }
    if (with_processes) {
        read_processes(container, &ret_reading->processes);
        ret_reading->usage.processes = &ret_reading->processes;
    }
}

/* Return: the number of readings. The pointers are for the message. */
static size_t read_containers(bool with_processes, Reading *readings, ContainerUsage **ret_pointers)
{
    size_t n = 0;
    for (Container *container = container_next(NULL); container != NULL && n < CONTAINERS_MAX;
         container = container_next(container)) {
        if (!is_counted(container))
            continue;
        read_container(container, with_processes, &readings[n]);
        ret_pointers[n] = &readings[n].usage;
        n++;
    }
    return n;
}

static bool lacks_measure(void)
{
    for (Container *container = container_next(NULL); container != NULL;
         container = container_next(container))
        if (is_counted(container) && container->writable.at_ns == 0)
            return true;
    return false;
}

/* ---- the guest ---- */

static void read_guest(StatsResponse *result)
{
    result->memory_total_bytes = (uint64_t)sysfile_meminfo_bytes("MemTotal:");
    result->memory_available_bytes = (uint64_t)sysfile_meminfo_bytes("MemAvailable:");
    result->cpu_usage_us = (uint64_t)sysfile_read_key(CGROUP_ROOT "/cpu.stat", "usage_usec");
}

void op_stats(Call *call)
{
    bool with_processes = call->request->stats->with_processes;
    StatsResponse result = CRIVIRT__AGENT__V1__STATS_RESPONSE__INIT;
    InterfaceReading interfaces[INTERFACES_MAX];
    InterfaceUsage *interface_pointers[INTERFACES_MAX];
    ContainerUsage *pointers[CONTAINERS_MAX];
    CgroupReading pod;

    measure_refresh();
    if (lacks_measure() && clock_monotonic_ns() - call->since_ns < FIRST_MEASURE_MS * INT64_C(1000000)) {
        call_retry(call, RETRY_MS);
        return;
    }
    Reading *readings = calloc(CONTAINERS_MAX, sizeof *readings);
    if (readings == NULL) {
        Fault error;
        fault(&error, FAULT_RESOURCE_EXHAUSTED, "cannot read statistics: out of memory in the guest");
        call_fail(call, &error);
        return;
    }
    result.n_containers = read_containers(with_processes, readings, pointers);
    result.containers = pointers;
    if (access(PODS_CGROUP, F_OK) == 0) {
        cgroup_read(PODS_CGROUP, &pod);
        result.pod = &pod.usage;
    }
    read_guest(&result);
    result.n_interfaces = netdev_read("/proc/net/dev", interfaces, INTERFACES_MAX);
    result.interfaces = interface_pointers;
    for (size_t i = 0; i < result.n_interfaces; i++)
        interface_pointers[i] = &interfaces[i].usage;
    reply_stats(call, &result);
    free(readings);
}
