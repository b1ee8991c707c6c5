/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/time_stamp.h"

#include "tests/unit/harness.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static void is_the_rate(void)
{
    const guint khz = time_stamp_khz();
#if defined(__x86_64__)
    const gint64 begin_us = g_get_monotonic_time();
    const guint64 begin = __rdtsc();
    gdouble by_ticks_us;

    g_usleep(200 * 1000);
    by_ticks_us = (gdouble)(__rdtsc() - begin) * 1000.0 / khz;
    /* Between reading one clock and the other this process may have waited for a processor. */
    CU_ASSERT_DOUBLE_EQUAL(by_ticks_us / (gdouble)(g_get_monotonic_time() - begin_us), 1.0, 0.5);
    CU_ASSERT_TRUE(khz > 100 * 1000);
#else
    CU_ASSERT_EQUAL(khz, 0);
#endif
    CU_ASSERT_EQUAL(time_stamp_khz(), khz);
}

static gboolean fits(guint saved, guint here, gboolean scales)
{
    g_autofree char *there = time_stamp_text(saved, FALSE);
    g_autofree char *node = time_stamp_text(here, scales);

    CU_ASSERT_EQUAL(time_stamp_parse(there), saved);
    CU_ASSERT_EQUAL(time_stamp_parse(node), here);
    return time_stamp_fits(there, node);
}

static void saved_rates(void)
{
    CU_ASSERT_TRUE(fits(2000000, 2000000, FALSE));
    CU_ASSERT_TRUE(fits(2000500, 2000000, FALSE));
    CU_ASSERT_FALSE(fits(2000501, 2000000, FALSE));
    CU_ASSERT_FALSE(fits(1999499, 2000000, FALSE));
    CU_ASSERT_TRUE(fits(3000000, 2000000, TRUE));
    CU_ASSERT_TRUE(fits(0, 0, FALSE));
    CU_ASSERT_FALSE(fits(0, 2000000, TRUE));
    CU_ASSERT_FALSE(fits(2000000, 0, FALSE));
}

/* A checkpoint may come from anyone. */
static void strange_rates(void)
{
    static const char *const texts[] = {
        "", "fast", "2000000", "2000000 MHz", "-2000000 kHz", "99999999999999999999 kHz", "4294967295 kHz"};

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        CU_ASSERT_EQUAL(time_stamp_parse(texts[i]), 0);
        CU_ASSERT_FALSE(time_stamp_fits(texts[i], "2000000 kHz or any other"));
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"the time computed from the counter and its rate is that of the clock", is_the_rate},
        {"a saved guest fits where its rate is within 250 ppm of the node's, or the node scales",
         saved_rates},
        {"a text that is no rate fits nowhere", strange_rates},
    };

    return test_main("time_stamp", cases, G_N_ELEMENTS(cases));
}
