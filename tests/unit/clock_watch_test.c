/* SPDX-License-Identifier: Apache-2.0 */
/* The test lets the system's clock leap by a microsecond, and back. It is skipped where it may not. */
#include "common/clock_watch.h"

#include <sys/timex.h>

#include "tests/unit/harness.h"
#include "tests/unit/wait.h"

#define LEAP_NS 1000
#define SECOND_NS 1000000000

static gint steps;

static void on_step(gint64 step_ns, gpointer data)
{
    CU_ASSERT_PTR_EQUAL(data, &steps);
    CU_ASSERT_TRUE(ABS(step_ns) < SECOND_NS);
    g_atomic_int_inc(&steps);
}

static gboolean clock_leap(gboolean back)
{
    struct timex leap = {.modes = ADJ_SETOFFSET | ADJ_NANO};

    leap.time.tv_sec = back ? -1 : 0;
    leap.time.tv_usec = back ? SECOND_NS - LEAP_NS : LEAP_NS;
    return adjtimex(&leap) >= 0;
}

static void each_step_is_noticed(void)
{
    LoopThread *loop = loop_thread_new("clock");
    ClockWatch *watch = clock_watch_new(loop, on_step, &steps);

    CU_ASSERT_PTR_NOT_NULL_FATAL(watch);
    for (int i = 1; i <= 4; i++) {
        CU_ASSERT_TRUE(clock_leap(i % 2 == 0));
        WAIT_UNTIL(g_atomic_int_get(&steps) >= i);
    }
    loop_thread_free(loop);
    clock_watch_free(watch);
    clock_watch_free(NULL);
}

int main(void)
{
    static const TestCase cases[] = {{"each step of the system's clock is noticed", each_step_is_noticed}};

    if (!clock_leap(FALSE)) {
        g_print("skipped: the clock cannot be set\n");
        return 77;
    }
    clock_leap(TRUE);
    return test_main("clock_watch", cases, G_N_ELEMENTS(cases));
}
