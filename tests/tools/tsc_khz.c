/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the rate of this machine's time stamp counter in kHz, for the kernel's command line of a VM that is
 * emulated. */
#include <stdio.h>

#include "sandbox/host/time_stamp.h"

int main(void)
{
    printf("%u\n", time_stamp_khz());
    return 0;
}
