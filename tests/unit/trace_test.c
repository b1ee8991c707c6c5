/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/trace.h"

#include <string.h>
#include <yajl/yajl_tree.h>

#include "tests/unit/harness.h"

static yajl_val parse(Trace *trace, const char *start)
{
    g_autofree char *text = trace_json(trace, "default/web", start);
    char problem[256] = "";
    yajl_val tree = yajl_tree_parse(text, problem, sizeof problem);

    CU_ASSERT_PTR_NOT_NULL_FATAL(tree);
    return tree;
}

static yajl_val events_of(yajl_val tree)
{
    const char *path[] = {"traceEvents", NULL};
    yajl_val events = yajl_tree_get(tree, path, yajl_t_array);

    CU_ASSERT_PTR_NOT_NULL_FATAL(events);
    return events;
}

static const char *text_of(yajl_val object, const char *outer, const char *inner)
{
    const char *path[] = {outer, inner, NULL};

    return YAJL_GET_STRING(yajl_tree_get(object, path, yajl_t_string));
}

static gint64 number_of(yajl_val object, const char *key)
{
    const char *path[] = {key, NULL};
    yajl_val value = yajl_tree_get(object, path, yajl_t_number);

    return YAJL_IS_INTEGER(value) ? YAJL_GET_INTEGER(value) : -1;
}

/* The track that has that name; 0: none. */
static gint64 track_named(yajl_val events, const char *name)
{
    for (size_t i = 0; i < events->u.array.len; i++) {
        yajl_val event = events->u.array.values[i];

        if (g_str_equal(text_of(event, "name", NULL), "thread_name") &&
            g_str_equal(text_of(event, "args", "name"), name))
            return number_of(event, "tid");
    }
    return 0;
}

/* The last event of that name on that track, and how many there are. */
static yajl_val find_phase(yajl_val events, const char *name, gint64 track, guint *ret_n)
{
    yajl_val found = NULL;

    *ret_n = 0;
    for (size_t i = 0; i < events->u.array.len; i++) {
        yajl_val event = events->u.array.values[i];

        if (!g_str_equal(text_of(event, "ph", NULL), "X") || number_of(event, "tid") != track ||
            !g_str_equal(text_of(event, "name", NULL), name))
            continue;
        found = event;
        (*ret_n)++;
    }
    return found;
}

static void phases_are_trace_events(void)
{
    Trace *trace = trace_new();
    gint64 begin_us = g_get_monotonic_time();
    yajl_val tree;
    yajl_val events;
    yajl_val boot;
    guint n;

    g_usleep(3000);
    trace_add(trace, TRACE_BOOT, NULL, begin_us);
    trace_add(trace, TRACE_NETWORK, NULL, begin_us);
    tree = parse(trace, "booted");
    events = events_of(tree);
    CU_ASSERT_STRING_EQUAL(text_of(tree, "otherData", "pod"), "default/web");
    CU_ASSERT_STRING_EQUAL(text_of(tree, "otherData", "start"), "booted");
    boot = find_phase(events, "boot", track_named(events, "vm"), &n);
    CU_ASSERT_EQUAL_FATAL(n, 1);
    CU_ASSERT_TRUE(number_of(boot, "ts") >= 0 && number_of(boot, "ts") < 1000 * 1000);
    CU_ASSERT_TRUE(number_of(boot, "dur") >= 3000);
    CU_ASSERT_EQUAL(number_of(boot, "pid"), 1);
    find_phase(events, "network", track_named(events, "network"), &n);
    CU_ASSERT_EQUAL(n, 1);
    yajl_tree_free(tree);
    trace_free(trace);
}

static void containers_have_tracks_of_their_own(void)
{
    Trace *trace = trace_new();
    gint64 now_us = g_get_monotonic_time();
    yajl_val tree;
    yajl_val events;
    guint n;

    trace_add(trace, TRACE_CREATE, NULL, now_us);
    trace_add(trace, TRACE_CREATE_CONTAINER, "a", now_us);
    trace_add(trace, TRACE_CREATE_CONTAINER, "quote \" and \xff", now_us);
    trace_add(trace, TRACE_START_CONTAINER, "a", now_us);
    tree = parse(trace, NULL);
    events = events_of(tree);
    CU_ASSERT_TRUE(track_named(events, "a") > 2);
    CU_ASSERT_TRUE(track_named(events, "quote \" and \xef\xbf\xbd") > track_named(events, "a"));
    find_phase(events, "create", track_named(events, "a"), &n);
    CU_ASSERT_EQUAL(n, 1);
    find_phase(events, "start", track_named(events, "a"), &n);
    CU_ASSERT_EQUAL(n, 1);
    find_phase(events, "create", track_named(events, "vm"), &n);
    CU_ASSERT_EQUAL(n, 1);
    yajl_tree_free(tree);
    trace_free(trace);
}

static void what_is_kept_is_bounded(void)
{
    Trace *trace = trace_new();
    g_autofree char *long_name = g_strnfill(1 << 20, 'x');
    gint64 now_us = g_get_monotonic_time();
    yajl_val tree;
    yajl_val events;
    guint n;

    trace_add(trace, TRACE_ALL, NULL, now_us);
    for (guint i = 0; i < 10 * TRACE_EVENTS_MAX; i++)
        trace_add(trace, TRACE_START_CONTAINER, i % 2 == 0 ? "even" : long_name, now_us);
    tree = parse(trace, NULL);
    events = events_of(tree);
    find_phase(events, "all", track_named(events, "vm"), &n);
    CU_ASSERT_EQUAL(n, 1);
    find_phase(events, "start", track_named(events, "even"), &n);
    CU_ASSERT_TRUE(n > 0 && n <= TRACE_EVENTS_MAX / 2);
    CU_ASSERT_TRUE(events->u.array.len <= TRACE_EVENTS_MAX + 5);
    for (guint i = 0; i < 2 * TRACE_EVENTS_MAX; i++) /* the pod's own phases do not exceed the bound either */
        trace_add(trace, TRACE_QUEUE, NULL, now_us);
    yajl_tree_free(tree);
    tree = parse(trace, NULL);
    CU_ASSERT_TRUE(events_of(tree)->u.array.len <= TRACE_EVENTS_MAX + 5);
    yajl_tree_free(tree);
    trace_free(trace);
}

int main(void)
{
    static const TestCase cases[] = {
        {"phases become trace events with their times", phases_are_trace_events},
        {"containers have tracks of their own, whatever their names are",
         containers_have_tracks_of_their_own},
        {"the trace is bounded, and keeps the pod's own start longest", what_is_kept_is_bounded},
    };

    return test_main("trace", cases, G_N_ELEMENTS(cases));
}
