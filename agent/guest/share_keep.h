/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the file system of the pod's share while its device is away, because a guest cannot be saved with one
 * (kernel/patches/virtiofs-park.patch). */
#pragma once

#include <stdbool.h>

#include "agent/guest/fault.h"

/* From now on the file system waits for the next device when its device is removed. Errors:
 * FAILED_PRECONDITION when the kernel cannot do that. */
bool share_keep(Fault *ret_fault);
/* Whether a file system waits for its device. */
bool share_waits(void);
/* Ends that: a file system that still waits fails with ENOTCONN. */
void share_let_go(void);
