/* SPDX-License-Identifier: Apache-2.0 */
#include "common/spans.h"

#include <string.h>

#include "tests/unit/harness.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

enum { MILLION = 1000000 };

/* Return: all spans that wait; the caller frees them. */
static GPtrArray *take_all(void)
{
    return spans_take(SPANS_MAX, 0);
}

static void a_trace_context_is_read(void)
{
    SpanContext context;

    CU_ASSERT_TRUE(span_context_parse("00-" TRACE "-" PARENT "-01", &context));
    CU_ASSERT_TRUE(context.is_recorded);
    CU_ASSERT_EQUAL(context.trace_id[0], 0x0a);
    CU_ASSERT_EQUAL(context.trace_id[15], 0x9c);
    CU_ASSERT_EQUAL(context.span_id[0], 0xb7);
    CU_ASSERT_TRUE(span_context_parse("00-" TRACE "-" PARENT "-00", &context));
    CU_ASSERT_FALSE(context.is_recorded);
    CU_ASSERT_TRUE(span_context_parse("01-" TRACE "-" PARENT "-01-more", &context));
}

static void what_is_no_trace_context_is_ignored(void)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" PARENT,
        "00-" TRACE "-" PARENT "-0",
        "00-" TRACE "-" PARENT "-01-more",
        "00-" TRACE "-" PARENT "-01x",
        "ff-" TRACE "-" PARENT "-01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-xaf7651916cd43dd8448eb211c80319c-" PARENT "-01",
        "00_" TRACE "_" PARENT "_01",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        SpanContext context;

        CU_ASSERT_FALSE(span_context_parse(bad[i], &context));
    }
}

static void nothing_is_recorded_until_it_is_switched_on(void)
{
    g_autoptr(GPtrArray) spans = NULL;

    span_begin("call", "00-" TRACE "-" PARENT "-01", g_get_monotonic_time());
    span_note("key", "value");
    span_end(NULL);
    spans = take_all();
    CU_ASSERT_EQUAL(spans->len, 0);
}

static gpointer add_from_another_thread(gpointer data)
{
    span_add_part(data, "network", NULL, g_get_monotonic_time());
    return NULL;
}

static void parts_have_the_call_as_parent_also_from_other_threads(void)
{
    g_autoptr(GPtrArray) spans = NULL;
    const SpanNote note = {(char *)"k", (char *)"v"};
    const SpanContext none = {FALSE};
    SpanContext context;
    const Span *call;

    spans_switch_on(0);
    span_begin("call", "00-" TRACE "-" PARENT "-01", g_get_monotonic_time() - 5000);
    span_note("container.id", "c1");
    context = span_context();
    span_add_part(&none, "create", &note, g_get_monotonic_time());
    g_thread_join(g_thread_new("network", add_from_another_thread, &context));
    span_end("it failed");
    spans = take_all();
    spans_switch_off();
    CU_ASSERT_EQUAL_FATAL(spans->len, 3);
    call = spans->pdata[2];
    CU_ASSERT_TRUE(call->is_call);
    CU_ASSERT_EQUAL(call->parent_id[0], 0xb7);
    CU_ASSERT_STRING_EQUAL(call->failure, "it failed");
    CU_ASSERT_TRUE(call->end_ns - call->begin_ns >= 5000000);
    CU_ASSERT_STRING_EQUAL(g_array_index(call->notes, SpanNote, 0).value, "c1");
    for (guint i = 0; i < 2; i++) {
        const Span *part = spans->pdata[i];

        CU_ASSERT_FALSE(part->is_call);
        CU_ASSERT_EQUAL(memcmp(part->parent_id, call->context.span_id, sizeof part->parent_id), 0);
        CU_ASSERT_EQUAL(memcmp(part->context.trace_id, call->context.trace_id, sizeof part->context.trace_id),
                        0);
        CU_ASSERT_NOT_EQUAL(
            memcmp(part->context.span_id, call->context.span_id, sizeof part->context.span_id), 0);
    }
}

/* How many of so many calls are recorded. */
static guint recorded(guint calls, const char *traceparent)
{
    g_autoptr(GPtrArray) spans = NULL;

    for (guint i = 0; i < calls; i++) {
        span_begin("call", traceparent, g_get_monotonic_time());
        span_end(NULL);
    }
    spans = take_all();
    return spans->len;
}

static void a_client_decides_and_else_chance(void)
{
    guint some;

    spans_switch_on(0);
    CU_ASSERT_EQUAL(recorded(10, NULL), 0);
    CU_ASSERT_EQUAL(recorded(10, "00-" TRACE "-" PARENT "-01"), 10);
    spans_switch_on(MILLION);
    CU_ASSERT_EQUAL(recorded(10, NULL), 10);
    CU_ASSERT_EQUAL(recorded(10, "no context"), 10);
    CU_ASSERT_EQUAL(recorded(10, "00-" TRACE "-" PARENT "-00"), 0);
    spans_switch_on(MILLION / 2);
    some = recorded(2000, NULL);
    CU_ASSERT_TRUE(some > 500 && some < 1500);
    spans_switch_off();
}

static void a_full_queue_drops_spans_and_keeps_the_first(void)
{
    spans_switch_on(MILLION);
    CU_ASSERT_EQUAL(recorded(SPANS_MAX + 100, NULL), SPANS_MAX);
    spans_switch_off();
}

static void texts_are_cut_and_are_utf_8(void)
{
    g_autofree char *text = g_strnfill(10000, 'a');
    g_autoptr(GPtrArray) spans = NULL;
    const Span *span;

    spans_switch_on(MILLION);
    span_begin("call", NULL, g_get_monotonic_time());
    for (guint i = 0; i < 100; i++)
        span_note("key", text);
    span_end("bad \xff byte");
    spans = take_all();
    spans_switch_off();
    CU_ASSERT_EQUAL_FATAL(spans->len, 1);
    span = spans->pdata[0];
    CU_ASSERT_EQUAL(span->notes->len, SPAN_NOTES_MAX);
    CU_ASSERT_EQUAL(strlen(g_array_index(span->notes, SpanNote, 0).value), SPAN_TEXT_MAX_BYTES);
    CU_ASSERT_TRUE(g_utf8_validate(span->failure, -1, NULL));
}

int main(void)
{
    static const TestCase cases[] = {
        {"a trace context is read", a_trace_context_is_read},
        {"what is no trace context is ignored", what_is_no_trace_context_is_ignored},
        {"nothing is recorded until it is switched on", nothing_is_recorded_until_it_is_switched_on},
        {"parts have the call as their parent, also those of other threads",
         parts_have_the_call_as_parent_also_from_other_threads},
        {"a client's choice decides, and chance without one", a_client_decides_and_else_chance},
        {"a full queue drops spans", a_full_queue_drops_spans_and_keeps_the_first},
        {"texts are cut, and are UTF-8", texts_are_cut_and_are_utf_8},
    };
    return test_main("spans", cases, G_N_ELEMENTS(cases));
}
