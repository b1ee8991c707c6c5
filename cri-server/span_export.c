/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/span_export.h"

#include <curl/curl.h>
#include <string.h>

#include "common/json_writer.h"
#include "common/log.h"
#include "common/metrics.h"

enum {
    BATCH_SPANS = 256,
    WAIT_MS = 1000, /* spans that come meanwhile go together */
    REQUEST_MS = 5000,
    PAUSE_FIRST_MS = 500,
    PAUSE_MOST_MS = 30 * 1000,
    FAREWELL_MS = 2000,
    PAUSE_STEP_US = 100 * 1000,
    KIND_INTERNAL = 1, /* opentelemetry.proto.trace.v1.Span.SpanKind */
    KIND_SERVER = 2,
    STATUS_OF_ERROR = 2,
};

struct SpanExport {
    char *url;
    char *ca_file; /* NULL: the node's */
    GThread *thread;
    gint stopping; /* atomic */
    gint64 stop_at_us;
    gboolean failing;
};

static Metric exported =
    METRIC_COUNTER("crivirt_spans_exported_total", "Spans that the collector has taken.", NULL);
static Metric refused =
    METRIC_COUNTER("crivirt_spans_refused_total", "Spans that the collector has refused.", NULL);

/* ---- JSON ---- */

static void put_id(JsonWriter *json, const char *key, const guint8 *id, gsize n_bytes)
{
    char text[33];

    for (gsize i = 0; i < n_bytes; i++)
        g_snprintf(text + 2 * i, 3, "%02x", id[i]);
    json_writer_string(json, key, text);
}

/* 64-bit numbers are strings in the JSON mapping of protobuf. */
static void put_time(JsonWriter *json, const char *key, gint64 ns)
{
    char text[24];

    g_snprintf(text, sizeof text, "%" G_GINT64_FORMAT, ns);
    json_writer_string(json, key, text);
}

static void put_attribute(JsonWriter *json, const char *key, const char *value)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "key", key);
    json_writer_open_object(json, "value");
    json_writer_string(json, "stringValue", value);
    json_writer_close_object(json);
    json_writer_close_object(json);
}

static void put_span(JsonWriter *json, const Span *span)
{
    static const guint8 none[sizeof span->parent_id];

    json_writer_open_object(json, NULL);
    put_id(json, "traceId", span->context.trace_id, sizeof span->context.trace_id);
    put_id(json, "spanId", span->context.span_id, sizeof span->context.span_id);
    if (memcmp(span->parent_id, none, sizeof none) != 0)
        put_id(json, "parentSpanId", span->parent_id, sizeof span->parent_id);
    json_writer_string(json, "name", span->name);
    json_writer_int(json, "kind", span->is_call ? KIND_SERVER : KIND_INTERNAL);
    put_time(json, "startTimeUnixNano", span->begin_ns);
    put_time(json, "endTimeUnixNano", span->end_ns);
    json_writer_open_array(json, "attributes");
    for (guint i = 0; i < span->notes->len; i++) {
        const SpanNote *note = &g_array_index(span->notes, SpanNote, i);

        put_attribute(json, note->key, note->value);
    }
    json_writer_close_array(json);
    if (span->failure != NULL) {
        json_writer_open_object(json, "status");
        json_writer_int(json, "code", STATUS_OF_ERROR);
        json_writer_string(json, "message", span->failure);
        json_writer_close_object(json);
    }
    json_writer_close_object(json);
}

static void put_resource(JsonWriter *json, const char *host)
{
    json_writer_open_object(json, "resource");
    json_writer_open_array(json, "attributes");
    put_attribute(json, "service.name", "crivirtd");
    put_attribute(json, "service.version", CRIVIRT_VERSION);
    put_attribute(json, "host.name", host);
    json_writer_close_array(json);
    json_writer_close_object(json);
}

char *span_export_json(const GPtrArray *spans, const char *host)
{
    g_autoptr(JsonWriter) json = json_writer_new();

    json_writer_open_object(json, NULL);
    json_writer_open_array(json, "resourceSpans");
    json_writer_open_object(json, NULL);
    put_resource(json, host);
    json_writer_open_array(json, "scopeSpans");
    json_writer_open_object(json, NULL);
    json_writer_open_object(json, "scope");
    json_writer_string(json, "name", "crivirt");
    json_writer_close_object(json);
    json_writer_open_array(json, "spans");
    for (guint i = 0; i < spans->len; i++)
        put_span(json, spans->pdata[i]);
    json_writer_close_array(json);
    json_writer_close_object(json);
    json_writer_close_array(json);
    json_writer_close_object(json);
    json_writer_close_array(json);
    json_writer_close_object(json);
    return json_writer_copy(json);
}

/* ---- sending ---- */

/* The answer's body tells nothing that is needed. */
static size_t drop_body(char *data, size_t size, size_t n, void *user)
{
    (void)data;
    (void)user;
    return size * n;
}

/* Return: the HTTP status; 0 and *ret_problem when there was no answer. */
static long post(const SpanExport *export, const char *body, char *ret_problem)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURL *curl = curl_easy_init();
    long status = 0;

    curl_easy_setopt(curl, CURLOPT_URL, export->url);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_body);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)REQUEST_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, ret_problem);
    if (export->ca_file != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, export->ca_file);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status;
}

static void report_failure(SpanExport *export, long status, const char *problem)
{
    if (export->failing)
        return;
    export->failing = TRUE;
    if (status != 0)
        log_warning(LOG_FIELDS("endpoint", export->url),
                    "the collector answers spans with HTTP %ld; they are tried again, and "
                    "dropped when there are too many",
                    status);
    else
        log_warning(LOG_FIELDS("endpoint", export->url),
                    "cannot send spans to the collector: %s; they are tried again, and "
                    "dropped when there are too many",
                    *problem != '\0' ? problem : "no answer");
}

static void report_success(SpanExport *export)
{
    if (export->failing)
        log_info(LOG_FIELDS("endpoint", export->url), "the collector takes spans again");
    export->failing = FALSE;
}

/* What the specification of OTLP calls retryable, and no answer. */
static gboolean may_pass(long status)
{
    return status == 0 || status == 429 || status == 502 || status == 503 || status == 504;
}

static gboolean is_over(const SpanExport *export)
{
    return g_atomic_int_get(&export->stopping) && g_get_monotonic_time() >= export->stop_at_us;
}

/* In short steps, so that the daemon's end does not wait. */
static void pause_ms(const SpanExport *export, gint64 ms)
{
    const gint64 until_us = g_get_monotonic_time() + ms * 1000;

    while (g_get_monotonic_time() < until_us && !g_atomic_int_get(&export->stopping))
        g_usleep(PAUSE_STEP_US);
}

static void send_batch(SpanExport *export, const GPtrArray *spans)
{
    g_autofree char *body = span_export_json(spans, g_get_host_name());
    gint64 wait_ms = PAUSE_FIRST_MS;

    for (;;) {
        char problem[CURL_ERROR_SIZE] = "";
        long status = post(export, body, problem);

        if (status / 100 == 2) {
            report_success(export);
            metric_add(&exported, spans->len, NULL, NULL);
            return;
        }
        report_failure(export, status, problem);
        if (!may_pass(status) || g_atomic_int_get(&export->stopping)) {
            metric_add(&refused, spans->len, NULL, NULL);
            return;
        }
        pause_ms(export, wait_ms);
        wait_ms = MIN(wait_ms * 2, PAUSE_MOST_MS);
    }
}

static gpointer export_run(gpointer data)
{
    SpanExport *export = data;

    for (;;) {
        const gboolean stopping = g_atomic_int_get(&export->stopping);
        g_autoptr(GPtrArray) spans = spans_take(BATCH_SPANS, stopping ? 0 : WAIT_MS);

        if (spans->len > 0)
            send_batch(export, spans);
        else if (stopping)
            return NULL;
        if (is_over(export))
            return NULL;
    }
}

SpanExport *span_export_start(const Settings *settings)
{
    const char *endpoint = settings->tracing.endpoint;
    SpanExport *export;

    if (*endpoint == '\0')
        return NULL;
    export = g_new0(SpanExport, 1);
    export->url = g_strdup_printf("%s%sv1/traces", endpoint, g_str_has_suffix(endpoint, "/") ? "" : "/");
    export->ca_file = *settings->tracing.ca_file != '\0' ? g_strdup(settings->tracing.ca_file) : NULL;
    spans_switch_on((gint)settings->tracing.samples_per_million);
    export->thread = g_thread_new("spans", export_run, export);
    return export;
}

void span_export_stop(SpanExport *export)
{
    if (export == NULL)
        return;
    spans_switch_off();
    export->stop_at_us = g_get_monotonic_time() + (gint64)FAREWELL_MS * 1000;
    g_atomic_int_set(&export->stopping, TRUE);
    spans_wake();
    g_thread_join(export->thread);
    g_free(export->url);
    g_free(export->ca_file);
    g_free(export);
}
