/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fair_pool.h"

#include <string.h>

#include "tests/unit/harness.h"
#include "tests/unit/wait.h"

enum { WORKERS = 4, PER_KEY = 2 };

static struct {
    GMutex lock;
    GCond changed;
    gboolean hangs; /* jobs whose name begins with "h" */
    GString *begun;
} state;

static void run_job(gpointer data)
{
    const char *name = data;

    g_mutex_lock(&state.lock);
    g_string_append(state.begun, name);
    while (state.hangs && *name == 'h')
        g_cond_wait(&state.changed, &state.lock);
    g_mutex_unlock(&state.lock);
}

static gboolean has_begun(const char *text)
{
    gboolean same;

    g_mutex_lock(&state.lock);
    same = strstr(state.begun->str, text) != NULL;
    g_mutex_unlock(&state.lock);
    return same;
}

static FairPool *start(void)
{
    state.hangs = TRUE;
    state.begun = g_string_new(NULL);
    return fair_pool_new(WORKERS, PER_KEY, run_job);
}

static void finish(FairPool *pool)
{
    g_mutex_lock(&state.lock);
    state.hangs = FALSE;
    g_cond_broadcast(&state.changed);
    g_mutex_unlock(&state.lock);
    fair_pool_free(pool);
}

static void one_key_does_not_hold_all_threads(void)
{
    static const char *const hung[] = {"h1 ", "h2 ", "h3 ", "h4 ", "h5 ", "h6 "};
    FairPool *pool = start();

    for (gsize i = 0; i < G_N_ELEMENTS(hung); i++)
        fair_pool_push(pool, "hung", (gpointer)hung[i]);
    for (int i = 0; i < 20; i++)
        fair_pool_push(pool, "calm", "c ");
    fair_pool_push(pool, "other", "o ");
    WAIT_UNTIL(has_begun("o "));
    CU_ASSERT_TRUE(has_begun("h2 "));
    CU_ASSERT_FALSE(has_begun("h3 "));
    finish(pool);
    CU_ASSERT_TRUE(has_begun("h6 "));
    CU_ASSERT_EQUAL(state.begun->len, 6 * strlen("h1 ") + 21 * strlen("c "));
    g_string_free(state.begun, TRUE);
}

static void jobs_of_a_key_begin_in_their_order(void)
{
    FairPool *pool = fair_pool_new(WORKERS, 1, run_job);
    static const char *const names[] = {"a", "b", "c", "d", "e"};

    state.begun = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        fair_pool_push(pool, "key", (gpointer)names[i]);
    fair_pool_free(pool);
    CU_ASSERT_STRING_EQUAL(state.begun->str, "abcde");
    g_string_free(state.begun, TRUE);
}

int main(void)
{
    static const TestCase cases[] = {
        {"jobs of one key that hang do not hold all threads, and run in the end",
         one_key_does_not_hold_all_threads},
        {"jobs of a key begin in their order", jobs_of_a_key_begin_in_their_order},
    };

    return test_main("fair_pool", cases, G_N_ELEMENTS(cases));
}
