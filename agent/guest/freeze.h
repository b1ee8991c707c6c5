/* SPDX-License-Identifier: Apache-2.0 */
/* Freeze, Thaw and Restore: what the guest does so that its state can be saved at one moment, and continued
 * as the guest of another pod. */
#pragma once

#include "agent/guest/call.h"
#include "agent/guest/container.h"

/* Return: whether Freeze is in force. */
bool freeze_is_in_force(void);
/* For operations that start a process. Return: true when Freeze is in force: the call is dispatched again
 * later, and the caller returns. A call of an earlier connection that waited has failed: in a restored guest
 * it is one of another pod. */
bool freeze_defers(Call *call);
/* Lets the processes of a restored container go on, as its start. */
void freeze_release(Container *container);
