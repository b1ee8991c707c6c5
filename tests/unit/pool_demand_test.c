/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/templates/pool_demand.h"

#include "tests/unit/harness.h"

enum { LEAST = 2, MOST = 20 };

static const gint64 SECOND = G_TIME_SPAN_SECOND;
static const gint64 MINUTE = G_TIME_SPAN_MINUTE;

/* n pods, `apart_us` apart, the first at begin_us. Return: the time of the last. */
static gint64 start_pods(PoolDemand *demand, guint n, gint64 begin_us, gint64 apart_us)
{
    for (guint i = 0; i < n; i++)
        pool_demand_note_start(demand, begin_us + i * apart_us);
    return begin_us + (n - 1) * apart_us;
}

static void few_pods_change_nothing(void)
{
    PoolDemand demand;

    pool_demand_init(&demand, LEAST, MOST);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, 0), LEAST);
    (void)start_pods(&demand, 100, MINUTE, 15 * SECOND); /* two in each window */
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, 30 * MINUTE), LEAST);
    CU_ASSERT_EQUAL(pool_demand_shrinks_at_us(&demand), G_MAXINT64);
}

static void the_pool_is_as_large_as_the_crowd(void)
{
    PoolDemand demand;
    gint64 last_us;

    pool_demand_init(&demand, LEAST, MOST);
    last_us = start_pods(&demand, 7, MINUTE, SECOND);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us), 7);
    /* A smaller one does not change that, a larger one is not exceeded. */
    last_us = start_pods(&demand, 5, last_us + MINUTE, 0);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us), 7);
    last_us = start_pods(&demand, 3 * POOL_DEMAND_MAX, last_us + MINUTE, 0);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us), MOST);
}

static void demand_that_passes_is_halved(void)
{
    PoolDemand demand;
    gint64 last_us;

    pool_demand_init(&demand, LEAST, MOST);
    last_us = start_pods(&demand, 12, MINUTE, 0);
    CU_ASSERT_EQUAL(pool_demand_shrinks_at_us(&demand), last_us + 20 * MINUTE);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us + 20 * MINUTE - 1), 12);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us + 20 * MINUTE), 6);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us + 40 * MINUTE), 3);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us + 24 * 60 * MINUTE), LEAST);
    CU_ASSERT_EQUAL(pool_demand_shrinks_at_us(&demand), G_MAXINT64);
}

static void demand_that_comes_again_stays(void)
{
    PoolDemand demand;

    pool_demand_init(&demand, LEAST, MOST);
    for (guint i = 1; i <= 50; i++) {
        const gint64 last_us = start_pods(&demand, 12, i * 15 * MINUTE, 0);

        CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us + 15 * MINUTE - 1), 12);
    }
}

static void what_is_expected_counts_as_started(void)
{
    PoolDemand demand;

    pool_demand_init(&demand, LEAST, MOST);
    pool_demand_expect(&demand, LEAST - 1, MINUTE);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, MINUTE), LEAST);
    CU_ASSERT_EQUAL(pool_demand_shrinks_at_us(&demand), G_MAXINT64);
    pool_demand_expect(&demand, MOST + 1, MINUTE);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, MINUTE), MOST);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, 21 * MINUTE), MOST / 2);
    pool_demand_expect(&demand, 3, 22 * MINUTE);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, 22 * MINUTE), MOST / 2);
    pool_demand_forget(&demand);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, 22 * MINUTE), LEAST);
}

static void demand_can_be_forgotten(void)
{
    PoolDemand demand;
    gint64 last_us;

    pool_demand_init(&demand, LEAST, MOST);
    last_us = start_pods(&demand, 12, MINUTE, 0);
    pool_demand_forget(&demand);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us), LEAST);
    pool_demand_note_start(&demand, last_us); /* the twelve do not count any more */
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us), LEAST);
    last_us = start_pods(&demand, 3, last_us, 0);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us), 4);
}

static void a_pool_of_one_size_stays_so(void)
{
    PoolDemand demand;
    gint64 last_us;

    pool_demand_init(&demand, LEAST, LEAST);
    last_us = start_pods(&demand, 50, MINUTE, 0);
    CU_ASSERT_EQUAL(pool_demand_wanted(&demand, last_us), LEAST);
}

int main(void)
{
    static const TestCase cases[] = {
        {"few pods at once do not change the size", few_pods_change_nothing},
        {"the pool is as large as the number of pods at once, up to its limit",
         the_pool_is_as_large_as_the_crowd},
        {"a demand that passes is halved every twenty minutes", demand_that_passes_is_halved},
        {"a demand that comes again stays", demand_that_comes_again_stays},
        {"pods that are expected count as if they had started", what_is_expected_counts_as_started},
        {"a demand can be forgotten", demand_can_be_forgotten},
        {"a pool whose limits are equal has one size", a_pool_of_one_size_stays_so},
    };

    return test_main("pool_demand", cases, G_N_ELEMENTS(cases));
}
