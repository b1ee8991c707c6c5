/* SPDX-License-Identifier: Apache-2.0 */
/* Only in the preset tsan: what tsan_glib.c puts before GLib's functions has no races of its own. */
#include "tests/unit/harness.h"

enum { N_THREADS = 2, WAIT_US = 1000 };

static int n_ready; /* makes the threads begin together; the sanitizer sees no order in relaxed accesses */

/* Two threads share nothing here that is a lock to the sanitizer. */
static gpointer first_call_thread(gpointer data)
{
    GMutex lock;
    GCond changed;

    (void)data;
    g_mutex_init(&lock);
    g_cond_init(&changed);
    __atomic_add_fetch(&n_ready, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&n_ready, __ATOMIC_RELAXED) < N_THREADS)
        continue;
    g_mutex_lock(&lock);
    g_cond_wait_until(&changed, &lock, g_get_monotonic_time() + WAIT_US);
    g_mutex_unlock(&lock);
    g_mutex_clear(&lock);
    g_cond_clear(&changed);
    return NULL;
}

/* A race is reported in about two runs of three when `find` is not atomic. */
static void first_calls(void)
{
    GThread *threads[N_THREADS];

    for (guint i = 0; i < N_THREADS; i++)
        threads[i] = g_thread_new("first-call", first_call_thread, NULL);
    for (guint i = 0; i < N_THREADS; i++)
        g_thread_join(threads[i]);
    CU_ASSERT_EQUAL(n_ready, N_THREADS);
}

int main(void)
{
    static const TestCase cases[] = {
        {"threads that call a function of GLib for the first time do not race", first_calls},
    };

    return test_main("tsan_glib", cases, G_N_ELEMENTS(cases));
}
