/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a clock of the kernel as one number. */
#pragma once

#include <glib.h>
#include <time.h>

/* clock: CLOCK_… of clock_gettime(2). Return: nanoseconds. Any thread. */
static inline gint64 clock_read_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * G_GINT64_CONSTANT(1000000000) + now.tv_nsec;
}
