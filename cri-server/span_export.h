/* SPDX-License-Identifier: Apache-2.0 */
/* Sends finished spans (common/spans.h) to a collector by OTLP over HTTP, as JSON
 * (https://opentelemetry.io/docs/specs/otlp/#otlphttp), from a thread of its own.
 *
 * A collector that does not answer is tried again with growing pauses; meanwhile the queue fills, and further
 * spans are dropped. Each change between success and failure is logged once. Nothing else waits for the
 * collector.
 */
#pragma once

#include "common/settings/settings.h"
#include "common/spans.h"

typedef struct SpanExport SpanExport;

/* Return: NULL when tracing.endpoint is empty: spans are not recorded then. */
SpanExport *span_export_start(const Settings *settings);
/* Sends what is left, for two seconds at most. Takes NULL. */
void span_export_stop(SpanExport *export);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SpanExport, span_export_stop)

/* Return: the request's body for these spans (Span), which the caller frees. host: the node's name. */
char *span_export_json(const GPtrArray *spans, const char *host);
