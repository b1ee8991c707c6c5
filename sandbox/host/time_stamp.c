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

/* ---- saved guests ---- */

#define UNIT " kHz"
#define ANY_OTHER " or any other"

char *time_stamp_text(guint khz, gboolean scales)
{
    return g_strdup_printf("%u" UNIT "%s", khz, scales ? ANY_OTHER : "");
}

guint time_stamp_parse(const char *text)
{
    char *end = NULL;
    const guint64 khz = g_ascii_strtoull(text, &end, 10);

    return g_str_has_prefix(end, UNIT) && khz <= G_MAXINT ? (guint)khz : 0;
}

/* QEMU and Linux take two rates for the same within this bound, by which NTP corrects a clock. */
gboolean time_stamp_fits(const char *saved, const char *here)
{
    enum { TOLERANCE_PPM = 250, MILLION = 1000 * 1000 };
    const gint64 wanted = time_stamp_parse(saved);
    const gint64 rate = time_stamp_parse(here);

    if (wanted == 0 || rate == 0)
        return wanted == rate;
    return g_str_has_suffix(here, ANY_OTHER) || ABS(wanted - rate) * MILLION <= rate * TOLERANCE_PPM;
}
