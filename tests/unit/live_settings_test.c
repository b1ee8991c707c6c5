/* SPDX-License-Identifier: Apache-2.0 */
#include "common/settings/live_settings.h"

#include "tests/unit/harness.h"

enum { READERS = 4, REPLACEMENTS = 2000 };

static gint freed;

static void count_and_free(Settings *settings)
{
    g_atomic_int_inc(&freed);
    g_free(settings);
}

/* Both counts of one Settings are the same, so that a reader can tell whether it sees a mixture of two. */
static Settings *settings_new(guint number)
{
    Settings *settings = g_new0(Settings, 1);

    g_atomic_ref_count_init(&settings->references);
    settings->free = count_and_free;
    settings->server.pod_workers = settings->guest.vcpus = number;
    return settings;
}

static void keeps_what_readers_hold(void)
{
    LiveSettings *live = live_settings_new(settings_new(1));
    Settings *held = live_settings_get(live);
    Settings *next;

    freed = 0;
    live_settings_replace(live, settings_new(2));
    live_settings_replace(live, settings_new(3));
    CU_ASSERT_EQUAL(freed, 1); /* the second, which nobody held */
    CU_ASSERT_EQUAL(held->guest.vcpus, 1);
    CU_ASSERT_EQUAL(live_settings_first(live)->guest.vcpus, 1);
    next = live_settings_get(live);
    CU_ASSERT_EQUAL(next->guest.vcpus, 3);
    live_settings_free(live);
    CU_ASSERT_EQUAL(freed, 1);
    CU_ASSERT_EQUAL(next->guest.vcpus, 3);
    settings_unref(next);
    settings_unref(held);
    CU_ASSERT_EQUAL(freed, 3);
}

static gpointer read_for_long(gpointer data)
{
    LiveSettings *live = data;
    guint seen = 0;
    gboolean good = TRUE;

    while (seen < REPLACEMENTS) {
        g_autoptr(Settings) settings = live_settings_get(live);

        good = good && settings->guest.vcpus >= seen && settings->server.pod_workers == settings->guest.vcpus;
        seen = settings->guest.vcpus;
    }
    return GINT_TO_POINTER(good);
}

static void shows_each_reader_whole_settings(void)
{
    LiveSettings *live = live_settings_new(settings_new(0));
    GThread *readers[READERS];

    freed = 0;
    for (guint i = 0; i < READERS; i++)
        readers[i] = g_thread_new("reader", read_for_long, live);
    for (guint number = 1; number <= REPLACEMENTS; number++)
        live_settings_replace(live, settings_new(number));
    for (guint i = 0; i < READERS; i++)
        CU_ASSERT_TRUE(GPOINTER_TO_INT(g_thread_join(readers[i])));
    live_settings_free(live);
    CU_ASSERT_EQUAL(freed, REPLACEMENTS + 1);
}

int main(void)
{
    static const TestCase cases[] = {
        {"settings stay valid for those who hold them", keeps_what_readers_hold},
        {"a reader never sees a mixture of two settings", shows_each_reader_whole_settings},
    };

    return test_main("live_settings", cases, G_N_ELEMENTS(cases));
}
