/* The end of the guest. */
#pragma once

/* After a Shutdown has been answered and the answer written: kills everything and powers off. */
void power_off_when_drained(void);
