/* ResizeMachine: how many of the guest's processors are used. Memory needs no help: the kernel takes what is
 * plugged in by itself (memhp_default_state). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/call.h"
#include "agent/guest/sysfile.h"

enum { CPUS_MAX = 1024, PLUG_TIMEOUT_MS = 10000, PLUG_RETRY_MS = 5 };

#define CPU_DIRECTORY "/sys/devices/system/cpu"

/* By its switch, which comes after its directory. The first processor has none: it is always on. */
static bool cpu_is_present(unsigned cpu)
{
    char path[64];
    snprintf(path, sizeof path, CPU_DIRECTORY "/cpu%u/online", cpu);
    return cpu == 0 || access(path, F_OK) == 0;
}

/* Setting what is set already is no error. */
static bool cpu_set(unsigned cpu, bool online, Fault *ret_fault)
{
    char path[64];
    snprintf(path, sizeof path, CPU_DIRECTORY "/cpu%u/online", cpu);
    return sysfile_write(path, online ? "1" : "0") ||
           fault_errno(ret_fault, "taking processor %u %s", cpu, online ? "on line" : "off line");
}

static bool all_present(unsigned vcpus)
{
    for (unsigned cpu = 0; cpu < vcpus; cpu++)
        if (!cpu_is_present(cpu))
            return false;
    return true;
}

static bool cpus_use(unsigned vcpus, Fault *ret_fault)
{
    for (unsigned cpu = 1; cpu < CPUS_MAX && (cpu < vcpus || cpu_is_present(cpu)); cpu++)
        if (!cpu_set(cpu, cpu < vcpus, ret_fault))
            return false;
    return true;
}

static uint64_t memory_available(void)
{
    char text[4096];
    const char *line =
        sysfile_read("/proc/meminfo", text, sizeof text) ? strstr(text, "MemAvailable:") : NULL;
    return line != NULL ? strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024 : 0;
}

void op_resize_machine(Call *call)
{
    unsigned vcpus = call->request->resize_machine->vcpus;
    ResizeMachineResponse result = CRIVIRT__AGENT__V1__RESIZE_MACHINE_RESPONSE__INIT;
    Fault error;

    if (vcpus < 1 || vcpus > CPUS_MAX)
        fault(&error, FAULT_INVALID_ARGUMENT, "a machine has 1 to %d processors", CPUS_MAX);
    else if (!all_present(vcpus)) {
        if (clock_monotonic_ns() - call->since_ns < PLUG_TIMEOUT_MS * INT64_C(1000000)) {
            call_retry(call, PLUG_RETRY_MS);
            return;
        }
        fault(&error, FAULT_UNAVAILABLE, "the guest's kernel does not see %u processors", vcpus);
    } else if (cpus_use(vcpus, &error)) {
        result.vcpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
        result.memory_available_bytes = memory_available();
        reply_resize_machine(call, &result);
        return;
    }
    call_fail(call, &error);
}
