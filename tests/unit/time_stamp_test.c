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

int main(void)
{
    static const TestCase cases[] = {
        {"the time computed from the counter and its rate is that of the clock", is_the_rate},
    };

    return test_main("time_stamp", cases, G_N_ELEMENTS(cases));
}
