/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded waits, which tests use instead of fixed pauses. The bound is far beyond what a busy machine needs:
 * it ends a test that would hang, and no test is about time. */
#pragma once

#include <CUnit/CUnit.h>
#include <glib.h>

#define WAIT_LIMIT_US (60 * G_USEC_PER_SEC)
#define WAIT_STEP_US 2000

/* Evaluates `condition` every 2 ms until it is true, for at most a minute. Yields whether it became true. */
#define WAIT_COMES_TRUE(condition)                                                                           \
    ({                                                                                                       \
        const gint64 wait_end_ = g_get_monotonic_time() + WAIT_LIMIT_US;                                     \
        gboolean wait_true_;                                                                                 \
        while (!(wait_true_ = (condition) ? TRUE : FALSE) && g_get_monotonic_time() < wait_end_)             \
            g_usleep(WAIT_STEP_US);                                                                          \
        wait_true_;                                                                                          \
    })

/* Waits until `condition` is true, and asserts that it became true. */
#define WAIT_UNTIL(condition)                                                                                \
    do {                                                                                                     \
        gboolean wait_came_ = WAIT_COMES_TRUE(condition);                                                    \
        if (!wait_came_)                                                                                     \
            g_printerr("%s:%d: did not come true: %s\n", __FILE__, __LINE__, #condition);                    \
        CU_ASSERT_TRUE(wait_came_);                                                                          \
    } while (0)
