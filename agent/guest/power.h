/* SPDX-License-Identifier: Apache-2.0 */
/* Shutdown: the end of the guest. */
#pragma once

/* Kills everything and powers off when a Shutdown has been answered and the response has been written. */
void power_off_when_drained(void);
