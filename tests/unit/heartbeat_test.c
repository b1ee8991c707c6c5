/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/heartbeat.h"

#include "tests/unit/harness.h"

enum { LIMIT_MS = 60 * 1000, SECOND = 1000 * 1000 };

static HeartbeatState look(const Heartbeat *heart, gboolean is_waited_for, gint64 now_s)
{
    return heartbeat_look(heart, LIMIT_MS, is_waited_for, now_s * SECOND);
}

static void one_that_speaks_is_never_asked(void)
{
    Heartbeat heart = {0, 0};

    for (gint64 now_s = 0; now_s < 1000; now_s += 4) {
        heartbeat_heard(&heart, now_s * SECOND);
        CU_ASSERT_EQUAL(look(&heart, TRUE, now_s + 4), HEARTBEAT_FINE);
    }
}

static void one_that_is_quiet_is_asked_and_sooner_if_somebody_waits(void)
{
    Heartbeat heart = {0, 0};

    heartbeat_heard(&heart, 100 * SECOND);
    CU_ASSERT_EQUAL(look(&heart, FALSE, 119), HEARTBEAT_FINE);
    CU_ASSERT_EQUAL(look(&heart, FALSE, 120), HEARTBEAT_ASK);
    CU_ASSERT_EQUAL(look(&heart, TRUE, 104), HEARTBEAT_FINE);
    CU_ASSERT_EQUAL(look(&heart, TRUE, 105), HEARTBEAT_ASK);
}

static void one_that_does_not_answer_is_silent_then_dead(void)
{
    Heartbeat heart = {0, 0};

    heartbeat_asked(&heart, 100 * SECOND);
    heartbeat_asked(&heart, 150 * SECOND); /* only the first ping counts */
    CU_ASSERT_EQUAL(look(&heart, FALSE, 114), HEARTBEAT_FINE);
    CU_ASSERT_EQUAL(look(&heart, FALSE, 115), HEARTBEAT_SILENT);
    CU_ASSERT_EQUAL(look(&heart, FALSE, 159), HEARTBEAT_SILENT);
    CU_ASSERT_EQUAL(look(&heart, FALSE, 160), HEARTBEAT_DEAD);
}

static void an_answer_makes_it_live_again(void)
{
    Heartbeat heart = {0, 0};

    heartbeat_asked(&heart, 100 * SECOND);
    CU_ASSERT_EQUAL(look(&heart, FALSE, 130), HEARTBEAT_SILENT);
    heartbeat_heard(&heart, 131 * SECOND);
    CU_ASSERT_EQUAL(look(&heart, FALSE, 132), HEARTBEAT_FINE);
}

int main(void)
{
    static const TestCase cases[] = {
        {"an agent that sends messages gets no ping", one_that_speaks_is_never_asked},
        {"an agent that sends nothing gets a ping, sooner when a call waits",
         one_that_is_quiet_is_asked_and_sooner_if_somebody_waits},
        {"an agent that does not answer is silent, then dead", one_that_does_not_answer_is_silent_then_dead},
        {"an answer ends the silence", an_answer_makes_it_live_again},
    };

    return test_main("heartbeat", cases, G_N_ELEMENTS(cases));
}
