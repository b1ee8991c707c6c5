/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/health.h"

#include "tests/unit/harness.h"
#include "tests/unit/wait.h"

/* A part that answers, or does not. */
typedef struct {
    gint silent; /* atomic */
    HealthPart *waiting;
    gint asked; /* atomic */
} Part;

static void ask(gpointer data, HealthPart *part)
{
    Part *asked = data;

    g_atomic_int_inc(&asked->asked);
    if (g_atomic_int_get(&asked->silent))
        g_atomic_pointer_set(&asked->waiting, part);
    else
        health_beat(part);
}

/* A watchdog this short makes the rounds short, too. */
static Health *start(Part *first, Part *second)
{
    Health *health = health_new();

    g_setenv("WATCHDOG_USEC", "60000", TRUE);
    health_add(health, "first", ask, first, NULL);
    health_add(health, "second", ask, second, NULL);
    health_start(health);
    g_unsetenv("WATCHDOG_USEC");
    return health;
}

static gboolean hangs(Health *health)
{
    g_autofree char *problem = health_problem(health);

    return problem != NULL;
}

static void names_the_part_that_hangs(void)
{
    Part good = {0};
    Part bad = {.silent = TRUE};
    g_autoptr(Health) health = start(&good, &bad);
    g_autofree char *problem = NULL;
    g_autofree char *unready = NULL;

    WAIT_UNTIL(hangs(health));
    problem = health_problem(health);
    CU_ASSERT_STRING_EQUAL(problem, "second");
    unready = health_unready(health);
    CU_ASSERT_STRING_EQUAL(unready, "these parts hang: second");
    CU_ASSERT_EQUAL(g_atomic_int_get(&bad.asked), 1); /* a part that hangs is not asked again and again */
    g_atomic_int_set(&bad.silent, FALSE);
    health_beat(g_atomic_pointer_get(&bad.waiting));
    WAIT_UNTIL(!hangs(health));
    health_stop(health);
}

static void is_ready_between_start_and_stop(void)
{
    Part part = {0};
    Health *health = health_new();
    g_autofree char *before = health_unready(health);
    g_autofree char *during = NULL;
    g_autofree char *after = NULL;
    Health *other;

    CU_ASSERT_STRING_EQUAL(before, "crivirtd is starting");
    health_free(health);
    other = start(&part, &part);
    during = health_unready(other);
    CU_ASSERT_PTR_NULL(during);
    health_stop(other);
    after = health_unready(other);
    CU_ASSERT_STRING_EQUAL(after, "crivirtd is stopping");
    health_free(other);
}

static gpointer stop_soon(gpointer health)
{
    health_stop(health);
    return NULL;
}

static void reports_changes(void)
{
    Part part = {0};
    Health *health = start(&part, &part);
    Deadline deadline = deadline_in_ms(30000);
    Deadline over = deadline_in_ms(0);
    GThread *stopper;

    CU_ASSERT_FALSE(health_wait_change(health, TRUE, &over));
    CU_ASSERT_TRUE(health_wait_change(health, FALSE, &deadline));
    stopper = g_thread_new("stopper", stop_soon, health);
    CU_ASSERT_TRUE(health_wait_change(health, TRUE, &deadline));
    CU_ASSERT_FALSE(health_wait_change(health, FALSE, &deadline)); /* it does not serve again */
    g_thread_join(stopper);
    health_free(health);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a part that does not answer is named until it does", names_the_part_that_hangs},
        {"the daemon is ready between its start and its stop", is_ready_between_start_and_stop},
        {"who waits for a change hears of it", reports_changes},
    };

    return test_main("health", cases, G_N_ELEMENTS(cases));
}
