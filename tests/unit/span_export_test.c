/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/span_export.h"

#include <string.h>

#include "common/json.h"
#include "tests/unit/harness.h"

static const char *string_of(const JsonValue *object, const char *key)
{
    const char *text = NULL;

    CU_ASSERT_TRUE(json_get_string(object, key, &text, NULL));
    return text != NULL ? text : "";
}

static const JsonValue *only(const JsonValue *object, const char *key)
{
    const JsonValue *array = NULL;

    CU_ASSERT_TRUE(json_get_array(object, key, G_MAXUINT, &array, NULL));
    CU_ASSERT_EQUAL_FATAL(json_length(array), 1);
    return json_at(array, 0);
}

static void spans_are_written_in_the_json_of_otlp(void)
{
    g_autoptr(GPtrArray) spans = NULL;
    g_autoptr(JsonDocument) document = NULL;
    g_autofree char *text = NULL;
    const JsonValue *span;
    const JsonValue *status = NULL;

    spans_switch_on(0);
    span_begin("service/Method", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
               g_get_monotonic_time());
    span_note("container.id", "c\"1");
    span_end("no disk");
    spans = spans_take(SPANS_MAX, 0);
    spans_switch_off();
    text = span_export_json(spans, "node1");
    document = json_document_parse(text, strlen(text), "spans", NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(document);
    span = only(only(only(json_document_root(document), "resourceSpans"), "scopeSpans"), "spans");
    CU_ASSERT_STRING_EQUAL(string_of(span, "traceId"), "0af7651916cd43dd8448eb211c80319c");
    CU_ASSERT_STRING_EQUAL(string_of(span, "parentSpanId"), "b7ad6b7169203331");
    CU_ASSERT_STRING_EQUAL(string_of(span, "name"), "service/Method");
    CU_ASSERT_EQUAL(strlen(string_of(span, "spanId")), 16);
    CU_ASSERT_EQUAL(strlen(string_of(span, "startTimeUnixNano")), 19);
    CU_ASSERT_STRING_EQUAL(string_of(only(span, "attributes"), "key"), "container.id");
    CU_ASSERT_TRUE(json_get_object(span, "status", &status, NULL));
    CU_ASSERT_STRING_EQUAL(string_of(status, "message"), "no disk");
}

int main(void)
{
    static const TestCase cases[] = {
        {"spans are written in the JSON of OTLP", spans_are_written_in_the_json_of_otlp},
    };
    return test_main("span_export", cases, G_N_ELEMENTS(cases));
}
