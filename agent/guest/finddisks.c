/* SPDX-License-Identifier: Apache-2.0 */
/* FindDisks: the device numbers of disks, which the guest's kernel assigns. */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/guest/call.h"
#include "agent/guest/disk.h"

static DiskState find_number(const Disk *disk, DeviceNumber *ret_number, Fault *ret_fault)
{
    struct stat status;
    char node[64];
    DiskState state = disk_find(disk, node, sizeof node, ret_fault);

    if (state != DISK_READY)
        return state;
    if (stat(node, &status) < 0) {
        fault_errno(ret_fault, "reading the device number of %s", node);
        return DISK_FAILED;
    }
    crivirt__agent__v1__device_number__init(ret_number);
    ret_number->major = major(status.st_rdev);
    ret_number->minor = minor(status.st_rdev);
    return DISK_READY;
}

void op_find_disks(Call *call)
{
    const FindDisksRequest *request = call->request->find_disks;
    FindDisksResponse result = CRIVIRT__AGENT__V1__FIND_DISKS_RESPONSE__INIT;
    DeviceNumber *numbers = calloc(request->n_disks + 1, sizeof *numbers);
    DeviceNumber **pointers = calloc(request->n_disks + 1, sizeof(DeviceNumber *));
    DiskState state = DISK_READY;
    Fault error;

    if (numbers == NULL || pointers == NULL) {
        fault(&error, FAULT_RESOURCE_EXHAUSTED, "cannot find %zu disks: out of memory in the guest",
              request->n_disks);
        state = DISK_FAILED;
    }
    for (size_t i = 0; state == DISK_READY && i < request->n_disks; i++) {
        state = find_number(request->disks[i], &numbers[i], &error);
        pointers[i] = &numbers[i];
    }
    result.n_numbers = request->n_disks;
    result.numbers = pointers;
    if (state == DISK_WAIT && clock_monotonic_ns() - call->since_ns < DISK_TIMEOUT_MS * INT64_C(1000000))
        call_retry(call, DISK_RETRY_MS);
    else if (state == DISK_READY)
        reply_find_disks(call, &result);
    else
        call_fail(call, &error);
    free(numbers);
    free(pointers);
}
