/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/share_keep.h"

#include <errno.h>
#include <string.h>

#include "agent/guest/sysfile.h"

#define PARAMETERS "/sys/module/virtiofs/parameters/"

bool share_keep(Fault *ret_fault)
{
    if (sysfile_write(PARAMETERS "park", "1"))
        return true;
    return errno == ENOENT
               ? fault(ret_fault, FAULT_FAILED_PRECONDITION,
                       "the guest's kernel cannot keep volumes of the node while it is saved: only the tuned "
                       "kernel can")
               : fault_errno(ret_fault, "keeping the volumes");
}

bool share_waits(void)
{
    char text[16];

    return sysfile_read(PARAMETERS "parked", text, sizeof text) && strcmp(text, "0") != 0;
}

void share_let_go(void)
{
    if (!sysfile_write(PARAMETERS "park", "0") && errno != ENOENT)
        complain("letting go of the volumes: %s", strerror(errno));
}
