/* SPDX-License-Identifier: Apache-2.0 */
/* ResizeVm: sets how many processors the guest uses. Memory needs nothing: the kernel brings plugged-in
 * memory on line by itself (memhp_default_state). */
#include <stdio.h>
#include <unistd.h>

#include "agent/guest/call.h"
#include "agent/guest/sysfile.h"

enum { CPUS_MAX = 1024, PLUG_TIMEOUT_MS = 10000, PLUG_RETRY_MS = 5 };

#define CPU_DIRECTORY "/sys/devices/system/cpu"

/* A processor is present when it has an `online` file, which the kernel makes after the directory. The first
 * processor has none and is always on line. */
static bool cpu_is_present(unsigned cpu)
{
    char path[64];
    snprintf(path, sizeof path, CPU_DIRECTORY "/cpu%u/online", cpu);
    return cpu == 0 || access(path, F_OK) == 0;
}

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

void op_resize_vm(Call *call)
{
    unsigned vcpus = call->request->resize_vm->vcpus;
    ResizeVmResponse result = CRIVIRT__AGENT__V1__RESIZE_VM_RESPONSE__INIT;
    Fault error;

    if (vcpus < 1 || vcpus > CPUS_MAX)
        fault(&error, FAULT_INVALID_ARGUMENT, "a VM has 1 to %d processors, not %u", CPUS_MAX, vcpus);
    else if (!all_present(vcpus)) {
        if (clock_monotonic_ns() - call->since_ns < PLUG_TIMEOUT_MS * INT64_C(1000000)) {
            call_retry(call, PLUG_RETRY_MS);
            return;
        }
        fault(&error, FAULT_UNAVAILABLE, "the guest's kernel does not see %u processors after %d s", vcpus,
              PLUG_TIMEOUT_MS / 1000);
    } else if (cpus_use(vcpus, &error)) {
        result.vcpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
        result.memory_available_bytes = (uint64_t)sysfile_meminfo_bytes("MemAvailable:");
        reply_resize_vm(call, &result);
        return;
    }
    call_fail(call, &error);
}
