/* Ctrl-C and SIGTERM as a GCancellable.
 *
 * interrupt_start() blocks the signals in the calling thread, so it comes before any other thread (gRPC's) is
 * started, and gives them to a thread of its own. The first signal cancels; a second one before
 * interrupt_rearm() ends the program with 128 + signal. Once per process.
 */
#pragma once

#include <gio/gio.h>

/* The cancellable lives as long as the process. */
GCancellable *interrupt_start(void);
/* Ready for the next signal; the work that the last one ended must be over. */
void interrupt_rearm(GCancellable *cancellable);
