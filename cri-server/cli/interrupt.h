/* SPDX-License-Identifier: Apache-2.0 */
/* Turns Ctrl-C and SIGTERM into a GCancellable.
 *
 * interrupt_start() blocks the signals in the calling thread, so it must run before any other thread (such
 * as gRPC's) starts; a thread of its own receives them. The first signal cancels the cancellable; a second
 * one before interrupt_rearm() ends the program with 128 + signal. Call it once per process.
 */
#pragma once

#include <gio/gio.h>

/* Return: the cancellable, which lives as long as the process. */
GCancellable *interrupt_start(void);
/* Prepares for the next signal. Work that the last signal cancelled must be over. */
void interrupt_rearm(GCancellable *cancellable);
