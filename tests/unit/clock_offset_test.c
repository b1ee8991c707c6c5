/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/clock_offset.h"

#include "tests/unit/harness.h"

#define MS G_GINT64_CONSTANT(1000000)
#define SECOND (1000 * MS)
#define HOUR (3600 * SECOND)
#define NODE_BOOT (500 * SECOND)
#define NODE_WALL (1800000000 * SECOND)
#define GUEST_MONOTONIC (70 * SECOND)

/* The guest is asked at NODE_BOOT, reads its clocks after `there_ns`, and its answer takes `back_ns`. Return:
 * whether it is found to be off. */
static gboolean is_off(gint64 guest_ahead_ns, gint64 there_ns, gint64 back_ns, gint64 node_step_ns,
                       GuestTime *ret_right, gint64 *ret_ahead_ns)
{
    const GuestTime told = {GUEST_MONOTONIC, NODE_WALL + there_ns + guest_ahead_ns};
    const NodeTime answered = {NODE_BOOT + there_ns + back_ns, NODE_WALL + there_ns + back_ns + node_step_ns};

    return clock_offset_find(NODE_BOOT, &answered, &told, ret_right, ret_ahead_ns);
}

static void a_clock_that_agrees_is_left_alone(void)
{
    GuestTime right = {1, 2};
    gint64 ahead = 3;

    CU_ASSERT_FALSE(is_off(0, MS, MS, 0, &right, &ahead));
    CU_ASSERT_FALSE(is_off(9 * MS, 0, 0, 0, &right, &ahead));
    CU_ASSERT_FALSE(is_off(-9 * MS, MS, MS, 0, &right, &ahead));
    CU_ASSERT_EQUAL(right.monotonic_ns, 1);
    CU_ASSERT_EQUAL(right.wall_ns, 2);
    CU_ASSERT_EQUAL(ahead, 3);
}

static void a_clock_that_is_off_is_set(void)
{
    static const gint64 offsets[] = {HOUR, -HOUR, 1000000 * HOUR / 10, -400000 * HOUR, 20 * MS, -20 * MS};

    for (gsize i = 0; i < G_N_ELEMENTS(offsets); i++) {
        GuestTime right = {0};
        gint64 ahead = 0;

        CU_ASSERT_TRUE(is_off(offsets[i], 2 * MS, 2 * MS, 0, &right, &ahead));
        CU_ASSERT_EQUAL(ahead, offsets[i]);
        CU_ASSERT_EQUAL(right.monotonic_ns, GUEST_MONOTONIC);
        CU_ASSERT_EQUAL(right.wall_ns, NODE_WALL + 2 * MS);
    }
}

/* Whatever part of the time the question took, and whatever the answer. */
static void a_slow_answer_makes_no_clock_worse(void)
{
    static const gint64 offsets[] = {0, 5 * MS, 400 * MS, 900 * MS, 1100 * MS, 3 * SECOND, HOUR};

    for (gsize i = 0; i < G_N_ELEMENTS(offsets); i++) {
        for (gint64 there = 0; there <= SECOND; there += 100 * MS) {
            gint64 before = i % 2 == 0 ? offsets[i] : -offsets[i];
            GuestTime right = {0};
            gint64 ahead = 0;

            if (is_off(before, there, SECOND - there, 0, &right, &ahead)) {
                CU_ASSERT_TRUE(ABS(before - ahead) <= ABS(before));
                CU_ASSERT_TRUE(ABS(before - ahead) <= SECOND / 2);
            }
        }
        if (ABS(offsets[i]) > 2 * SECOND) {
            GuestTime right;
            gint64 ahead;

            CU_ASSERT_TRUE(is_off(offsets[i], SECOND, 0, 0, &right, &ahead));
        }
    }
}

static void the_nodes_clock_may_step_meanwhile(void)
{
    GuestTime right = {0};
    gint64 ahead = 0;

    CU_ASSERT_TRUE(is_off(0, 2 * MS, 2 * MS, HOUR, &right, &ahead));
    CU_ASSERT_EQUAL(ahead, -HOUR);
    CU_ASSERT_EQUAL(right.wall_ns, NODE_WALL + 2 * MS + HOUR);
    CU_ASSERT_FALSE(is_off(-HOUR, 2 * MS, 2 * MS, -HOUR, &right, &ahead));
}

/* BOOTTIME goes on meanwhile, so that the answer seems to have taken that long. */
static void a_suspended_node_proves_nothing(void)
{
    GuestTime right;
    gint64 ahead;

    CU_ASSERT_FALSE(is_off(-HOUR / 2, MS, HOUR, 0, &right, &ahead));
}

static void any_answer_is_harmless(void)
{
    static const gint64 lies[] = {G_MININT64, G_MININT64 + 1, -1, 0, 1, G_MAXINT64 - 1, G_MAXINT64};
    const NodeTime answered = {NODE_BOOT + MS, NODE_WALL}, early = {NODE_BOOT, 1}, none = {NODE_BOOT, -HOUR};

    for (gsize i = 0; i < G_N_ELEMENTS(lies); i++) {
        for (gsize j = 0; j < G_N_ELEMENTS(lies); j++) {
            const GuestTime told = {lies[i], lies[j]};
            GuestTime right = {0};
            gint64 ahead = 0;
            gboolean off = clock_offset_find(NODE_BOOT, &answered, &told, &right, &ahead);

            CU_ASSERT_EQUAL(off, lies[i] >= 0 && lies[j] > 0);
            CU_ASSERT_EQUAL(right.wall_ns, off ? NODE_WALL - MS / 2 : 0);
            clock_offset_find(NODE_BOOT, &early, &told, &right, &ahead);
            CU_ASSERT_FALSE(clock_offset_find(NODE_BOOT, &none, &told, &right, &ahead));
            CU_ASSERT_FALSE(clock_offset_find(2 * NODE_BOOT, &answered, &told, &right, &ahead));
        }
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"a clock that agrees with the node's is left alone", a_clock_that_agrees_is_left_alone},
        {"a clock that is off is set, for the moment that the guest named", a_clock_that_is_off_is_set},
        {"an answer that takes long makes no clock worse", a_slow_answer_makes_no_clock_worse},
        {"a step of the node's clock between question and answer is followed",
         the_nodes_clock_may_step_meanwhile},
        {"an answer from before the node was suspended sets nothing", a_suspended_node_proves_nothing},
        {"any numbers that a guest answers are harmless", any_answer_is_harmless},
    };

    return test_main("clock_offset", cases, G_N_ELEMENTS(cases));
}
