/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/time_stamp.h"

#include "common/clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>

enum { TRIES = 50, MEASURE_US = 100 * 1000 };

typedef struct {
    guint64 ticks;
    gint64 at_ns;
} Moment;

/* Reads both clocks as nearly at once as possible: of several readings, the one that took the least time. */
static Moment moment_read(void)
{
    Moment best = {0};
    guint64 least = G_MAXUINT64;

    for (guint i = 0; i < TRIES; i++) {
        const guint64 before = __rdtsc();
        const gint64 at_ns = clock_read_ns(CLOCK_MONOTONIC);
        const guint64 took = __rdtsc() - before;

        if (took >= least)
            continue;
        least = took;
        best = (Moment){before + took / 2, at_ns};
    }
    return best;
}

static guint measure_khz(void)
{
    const Moment begin = moment_read();
    Moment end;

    g_usleep(MEASURE_US);
    end = moment_read();
    return (guint)((gdouble)(end.ticks - begin.ticks) * 1e6 / (gdouble)(end.at_ns - begin.at_ns) + 0.5);
}
#else
static guint measure_khz(void)
{
    return 0;
}
#endif

guint time_stamp_khz(void)
{
    static gsize known; /* the rate + 1 */

    if (g_once_init_enter(&known))
        g_once_init_leave(&known, (gsize)measure_khz() + 1);
    return (guint)(known - 1);
}
