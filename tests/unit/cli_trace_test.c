/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/trace_view.h"

#include <string.h>

#include "common/error.h"
#include "tests/unit/harness.h"

#define HEAD                                                                                                 \
    "{\"otherData\":{\"pod\":\"default/web\",\"start\":\"restored\",\"began\":\"2026-01-02T03:04:05Z\"},"    \
    "\"traceEvents\":["                                                                                      \
    "{\"ph\":\"M\",\"pid\":1,\"tid\":1,\"name\":\"thread_name\",\"args\":{\"name\":\"vm\"}},"                \
    "{\"ph\":\"M\",\"pid\":1,\"tid\":3,\"name\":\"thread_name\",\"args\":{\"name\":\"app\"}}"
#define TAIL "]}"
#define EVENT(cat, name, tid, ts, dur)                                                                       \
    ",{\"ph\":\"X\",\"pid\":1,\"cat\":\"" cat "\",\"name\":\"" name "\",\"tid\":" tid ",\"ts\":" ts          \
    ",\"dur\":" dur "}"

static char *format(const char *json, guint columns)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TraceView) view = trace_view_parse(json, &error);

    TEST_OK(view != NULL, error);
    return view != NULL ? trace_view_format(view, columns, FALSE) : g_strdup("");
}

static void phases_are_bars_on_one_scale(void)
{
    g_autofree char *text =
        format(HEAD EVENT("pod", "queue", "1", "0", "0") EVENT("pod", "network", "2", "10000", "20000")
                   EVENT("pod", "boot", "1", "20000", "20000") EVENT("pod", "all", "1", "0", "40000") TAIL,
               53);

    CU_ASSERT_STRING_EQUAL(text, "pod default/web, restored, from 2026-01-02T03:04:05Z\n"
                                 "PHASE          BEGAN         TOOK\n"
                                 "all           0.0 ms      40.0 ms  ##################\n"
                                 "  queue       0.0 ms       0.0 ms  #\n"
                                 "  boot       20.0 ms      20.0 ms           #########\n"
                                 "network      10.0 ms      20.0 ms      #########\n");
}

static void later_starts_have_a_scale_of_their_own(void)
{
    g_autofree char *text = format(HEAD EVENT("pod", "all", "1", "0", "1000")
                                       EVENT("container", "create", "3", "60000000", "5000")
                                           EVENT("container", "start", "3", "60005000", "5000") TAIL,
                                   80);
    const char *part = strstr(text, "\n\n");

    CU_ASSERT_PTR_NOT_NULL_FATAL(part);
    CU_ASSERT_PTR_NOT_NULL(strstr(part, "app: create   60000.0 ms       5.0 ms  ##"));
    CU_ASSERT_PTR_NOT_NULL(strstr(part, "app: start    60005.0 ms       5.0 ms       "));
}

static void a_narrow_terminal_still_has_bars(void)
{
    g_autofree char *text = format(HEAD EVENT("pod", "all", "1", "0", "40000") TAIL, 1);

    CU_ASSERT_PTR_NOT_NULL(strstr(text, "  ##########\n"));
}

static void nothing_known_is_said(void)
{
    g_autofree char *text = format("{\"traceEvents\":[]}", 80);

    CU_ASSERT_PTR_NOT_NULL(strstr(text, "an earlier daemon started it"));
}

static void a_document_that_is_not_a_trace_is_refused(void)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{\"traceEvents\":3}",
        HEAD EVENT("pod", "all", "1", "0", "-1") TAIL,
        HEAD EVENT("pod", "all", "1", "1e3", "1") TAIL,
        HEAD EVENT("pod", "all", "\"x\"", "0", "1") TAIL,
        HEAD EVENT("pod", "all", "1", "9223372036854775807", "9223372036854775807") TAIL,
        HEAD ",{\"ph\":\"X\"}" TAIL,
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TraceView) view = trace_view_parse(bad[i], &error);

        TEST_FAILS(view != NULL, error, STATUS_INTERNAL, "trace");
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"phases are bars on one scale, those within others indented", phases_are_bars_on_one_scale},
        {"a phase that begins much later has a scale of its own", later_starts_have_a_scale_of_their_own},
        {"a narrow terminal still has bars", a_narrow_terminal_still_has_bars},
        {"the message about an empty trace says that an earlier daemon started the pod",
         nothing_known_is_said},
        {"a document that is not a trace is refused", a_document_that_is_not_a_trace_is_refused},
    };

    return test_main("cli_trace", cases, G_N_ELEMENTS(cases));
}
