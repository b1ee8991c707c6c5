/* SPDX-License-Identifier: Apache-2.0 */
/* The store of templates with a function that makes templates without a guest, and with a clock that the
 * tests set: which failures are followed by a new try, when, and what is reported until then. */
#include "sandbox/templates/template_store.h"

#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "sandbox/templates/retry.h"
#include "tests/unit/harness.h"
#include "tests/unit/wait.h"

enum { MINUTES_MAX = 60, RAM_BYTES = 4096 };
#define MINUTE_US (G_GINT64_CONSTANT(60) * G_USEC_PER_SEC)

/* ---- the pauses ---- */

static void pauses_grow(void)
{
    static const guint minutes[] = {0, 1, 2, 4, 8, 16, 32, 60, 60, 60};
    Retry retry = {0};
    gint64 now_us = 5;

    CU_ASSERT_EQUAL(retry_left_us(NULL, now_us), 0);
    CU_ASSERT_EQUAL(retry_left_us(&retry, now_us), 0);
    for (guint i = 0; i < G_N_ELEMENTS(minutes); i++) {
        retry_add_failure(&retry, now_us);
        CU_ASSERT_EQUAL(retry_left_us(&retry, now_us), minutes[i] * MINUTE_US);
        now_us += minutes[i] * MINUTE_US;
        CU_ASSERT_EQUAL(retry_left_us(&retry, now_us), 0);
    }
}

static void goodness_forgives(void)
{
    Retry retry = {0};

    for (guint i = 0; i < 4; i++)
        retry_add_failure(&retry, 1);
    retry_add_success(&retry, MINUTE_US);
    CU_ASSERT_EQUAL(retry_left_us(&retry, MINUTE_US), 0);
    retry_add_failure(&retry, 2 * MINUTE_US); /* good for one minute only */
    CU_ASSERT_EQUAL(retry_left_us(&retry, 2 * MINUTE_US), 8 * MINUTE_US);
    retry_add_success(&retry, 10 * MINUTE_US);
    retry_add_failure(&retry, (10 + MINUTES_MAX) * MINUTE_US);
    CU_ASSERT_EQUAL(retry_left_us(&retry, (10 + MINUTES_MAX) * MINUTE_US), 0);
}

/* ---- the store ---- */

static gint64 clock_us; /* under clock_lock; the store's thread reads it */
static GMutex clock_lock;
static gint makes;    /* calls of make() */
static gint may_make; /* whether they succeed */

static gint64 now(void)
{
    gint64 now_us;

    g_mutex_lock(&clock_lock);
    now_us = clock_us;
    g_mutex_unlock(&clock_lock);
    return now_us;
}

static void pass(gint64 us)
{
    g_mutex_lock(&clock_lock);
    clock_us += us;
    g_mutex_unlock(&clock_lock);
}

static char **inputs(const GuestEnvironment *env, const DomainSpec *spec, GError **error)
{
    static const char *const names[] = {"format=1", "machine=<domain type='qemu'/>", NULL};

    (void)env, (void)spec, (void)error;
    return g_strdupv((char **)names);
}

static gboolean make(const GuestEnvironment *env, const DomainSpec *spec, const char *const *of_inputs,
                     const char *directory, GCancellable *cancellable, GError **error)
{
    static const char *const names[] = {TEMPLATE_RAM, TEMPLATE_DEVICES, TEMPLATE_DISK};
    g_autofree char *constant = NULL;

    (void)env, (void)spec, (void)cancellable;
    g_atomic_int_inc(&makes);
    if (!g_atomic_int_get(&may_make))
        return fail(error, STATUS_DEADLINE_EXCEEDED, "the guest agent did not answer within 150 s");
    if (!dir_make(directory, 0700, error))
        return FALSE;
    constant = g_build_filename(directory, TEMPLATE_CONSTANT, NULL);
    if (!file_write_atomic(constant, "begin end\n", strlen("begin end\n"), 0600, error))
        return FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(directory, names[i], NULL);
        g_autofree char *data = g_malloc0(RAM_BYTES);

        if (!file_write_atomic(path, data, RAM_BYTES, 0600, error))
            return FALSE;
    }
    return template_seal(directory, of_inputs, error);
}

typedef struct {
    char *directory;
    char *bad; /* directory of the quarantined template */
    GuestEnvironment env;
    TemplateStore *store;
} Fixture;

static void fixture_open(Fixture *fixture)
{
    static const TemplateStoreWork work = {inputs, make, now};
    g_auto(GStrv) names = inputs(NULL, NULL, NULL);
    g_autofree char *key = template_key((const char *const *)names);

    memset(fixture, 0, sizeof *fixture);
    fixture->directory = test_directory();
    fixture->bad = g_strdup_printf("%s/templates/%s" TEMPLATE_BAD_SUFFIX, fixture->directory, key);
    fixture->env.state_dir = fixture->directory;
    makes = may_make = 0;
    clock_us = MINUTE_US;
    fixture->store = template_store_new_with(&fixture->env, &work);
}

static void fixture_close(Fixture *fixture)
{
    template_store_free(fixture->store);
    g_free(fixture->directory);
    g_free(fixture->bad);
}

static guint wanted(Fixture *fixture)
{
    TemplateCounts counts;
    guint count;

    template_store_count(fixture->store, &counts);
    count = counts.wanted;
    template_counts_clear(&counts);
    return count;
}

/* Asks as a pod does, and waits until the store has done what follows. Return: whether it has a template. */
static gboolean ask(Fixture *fixture)
{
    static const DomainSpec spec = {0};
    Template *template = template_store_find(fixture->store, &spec);
    gboolean found = template != NULL;

    template_unref(template);
    WAIT_UNTIL(wanted(fixture) == 0);
    return found;
}

/* Fails with one try more for each. */
static void fail_times(Fixture *fixture, gint times)
{
    for (gint i = 0; i < times; i++) {
        pass(MINUTES_MAX * MINUTE_US);
        CU_ASSERT_FALSE(ask(fixture));
    }
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), times);
}

static char *quarantined_file(const Fixture *fixture, const char *name)
{
    g_autofree char *path = g_build_filename(fixture->bad, name, NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

static void retries_after_pauses(void)
{
    Fixture fixture;

    fixture_open(&fixture);
    CU_ASSERT_FALSE(ask(&fixture));
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), 1);
    CU_ASSERT_FALSE(ask(&fixture));
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), 2);
    CU_ASSERT_FALSE(ask(&fixture));
    pass(MINUTE_US - 1);
    CU_ASSERT_FALSE(ask(&fixture));
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), 2);
    pass(1);
    CU_ASSERT_FALSE(ask(&fixture));
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), 3);
    pass(MINUTE_US);
    CU_ASSERT_FALSE(ask(&fixture));
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), 3);
    pass(MINUTE_US);
    g_atomic_int_set(&may_make, TRUE);
    CU_ASSERT_FALSE(ask(&fixture));
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), 4);
    CU_ASSERT_TRUE(ask(&fixture));
    fixture_close(&fixture);
}

static void reports_the_next_try(void)
{
    g_autofree char *reason = NULL;
    g_autofree char *file = NULL;
    g_autoptr(GDateTime) when = NULL;
    TemplateCounts counts;
    gint64 left_s;
    Fixture fixture;

    fixture_open(&fixture);
    fail_times(&fixture, 3);
    template_store_count(fixture.store, &counts);
    CU_ASSERT_EQUAL_FATAL(g_strv_length(counts.quarantined), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(counts.quarantined[0], "did not answer within 150 s"));
    CU_ASSERT_EQUAL_FATAL(g_strv_length(counts.next_tries), 1);
    reason = quarantined_file(&fixture, TEMPLATE_REASON);
    CU_ASSERT_STRING_EQUAL(reason, "the guest agent did not answer within 150 s");
    file = quarantined_file(&fixture, TEMPLATE_NEXT_TRY);
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    when = g_date_time_new_from_iso8601(file, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(when);
    left_s = g_date_time_to_unix(when) - g_get_real_time() / G_USEC_PER_SEC;
    CU_ASSERT_TRUE(left_s <= 2 * 60);
    CU_ASSERT_EQUAL(strncmp(counts.next_tries[0], counts.quarantined[0], 34), 0); /* "KEY: " */
    template_counts_clear(&counts);
    pass(2 * MINUTE_US);
    template_store_count(fixture.store, &counts);
    CU_ASSERT_EQUAL(g_strv_length(counts.next_tries), 0);
    template_counts_clear(&counts);
    fixture_close(&fixture);
}

static void first_failure_has_no_pause(void)
{
    g_autofree char *reason = NULL;
    g_autofree char *file = NULL;
    TemplateCounts counts;
    Fixture fixture;

    fixture_open(&fixture);
    fail_times(&fixture, 1);
    template_store_count(fixture.store, &counts);
    CU_ASSERT_EQUAL(g_strv_length(counts.next_tries), 0);
    template_counts_clear(&counts);
    reason = quarantined_file(&fixture, TEMPLATE_REASON);
    file = quarantined_file(&fixture, TEMPLATE_NEXT_TRY);
    CU_ASSERT_PTR_NOT_NULL(reason);
    CU_ASSERT_PTR_NULL(file);
    fixture_close(&fixture);
}

static void success_ends_the_report(void)
{
    g_autofree char *file = NULL;
    TemplateCounts counts;
    Fixture fixture;

    fixture_open(&fixture);
    fail_times(&fixture, 3);
    pass(MINUTES_MAX * MINUTE_US);
    g_atomic_int_set(&may_make, TRUE);
    CU_ASSERT_FALSE(ask(&fixture));
    template_store_count(fixture.store, &counts);
    CU_ASSERT_EQUAL(counts.ready, 1);
    CU_ASSERT_EQUAL(g_strv_length(counts.next_tries), 0);
    template_counts_clear(&counts);
    file = quarantined_file(&fixture, TEMPLATE_NEXT_TRY);
    CU_ASSERT_PTR_NULL(file);
    fixture_close(&fixture);
}

/* A template that can be made and not be restored must not make each pod lose time. */
static void counts_failed_restores(void)
{
    static const DomainSpec spec = {0};
    Fixture fixture;

    fixture_open(&fixture);
    g_atomic_int_set(&may_make, TRUE);
    for (gint i = 1; i <= 2; i++) {
        g_autoptr(Template) template = NULL;

        CU_ASSERT_FALSE(ask(&fixture));
        CU_ASSERT_EQUAL(g_atomic_int_get(&makes), i);
        template = template_store_find(fixture.store, &spec);
        CU_ASSERT_PTR_NOT_NULL_FATAL(template);
        template_store_quarantine(fixture.store, template, "the guest does not run");
        template_store_quarantine(fixture.store, template, "a second pod reports the same template");
    }
    CU_ASSERT_FALSE(ask(&fixture));
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), 2);
    pass(MINUTE_US);
    CU_ASSERT_FALSE(ask(&fixture));
    CU_ASSERT_EQUAL(g_atomic_int_get(&makes), 3);
    CU_ASSERT_TRUE(ask(&fixture));
    fixture_close(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"the pauses double from one minute to an hour, and the first failure has none", pauses_grow},
        {"a template that was good for an hour starts from the beginning", goodness_forgives},
        {"a template that failed twice is tried again when its pause has passed", retries_after_pauses},
        {"the reason and the time of the next try are reported, and are on disk", reports_the_next_try},
        {"after the first failure there is a reason and no time of a next try", first_failure_has_no_pause},
        {"a try that succeeds ends the report of the next try", success_ends_the_report},
        {"a template from which no guest can be restored is a failure, once for each",
         counts_failed_restores},
    };

    return test_main("template_store", cases, G_N_ELEMENTS(cases));
}
