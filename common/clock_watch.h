/* SPDX-License-Identifier: Apache-2.0 */
/* Notices that the system's clock (CLOCK_REALTIME) was set: by a person or an NTP client that lets it leap,
 * or by the kernel after the system was suspended. A clock that is slewed is not noticed.
 *
 * Threads: the function runs on the loop's thread. clock_watch_free() is called on that thread, or when the
 * loop has been freed.
 */
#pragma once

#include "common/loop_thread.h"

typedef struct ClockWatch ClockWatch;

/* step_ns: by how much the clock went ahead of CLOCK_MONOTONIC since the last call; negative: it went back.
 */
typedef void (*ClockStepped)(gint64 step_ns, gpointer data);

/* Return: the caller's, for clock_watch_free(); NULL with errno set when the kernel refuses the timer. */
ClockWatch *clock_watch_new(LoopThread *loop, ClockStepped stepped, gpointer data);
/* Takes NULL. */
void clock_watch_free(ClockWatch *watch);
