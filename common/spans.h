/* SPDX-License-Identifier: Apache-2.0 */
/* Spans for a collector of traces: what a call of a client took, and what parts it had
 * (https://opentelemetry.io/docs/specs/otel).
 *
 * A call's span belongs to the thread that handles the call, from span_begin() to span_end(), and what that
 * thread does meanwhile can add parts and notes to it without being passed anything. Finished spans wait in a
 * queue of at most SPANS_MAX for the thread that exports them (cri-server/span_export.h). When the queue is
 * full a span is dropped and counted: nothing waits.
 *
 * A call whose client sends a trace context (https://www.w3.org/TR/trace-context) belongs to the client's
 * trace, and is recorded when the client says so; of the others a share is recorded, by chance.
 *
 * Until spans_switch_on() all of this does nothing. Threads: any.
 */
#pragma once

#include <glib.h>

enum { SPANS_MAX = 4096, SPAN_NOTES_MAX = 16, SPAN_TEXT_MAX_BYTES = 256 };

/* A place in a trace; is_recorded FALSE: none. */
typedef struct {
    gboolean is_recorded;
    guint8 trace_id[16];
    guint8 span_id[8];
} SpanContext;

typedef struct {
    char *key;
    char *value;
} SpanNote;

/* A finished span. */
typedef struct {
    SpanContext context;
    guint8 parent_id[8]; /* zeros: it has no parent */
    gboolean is_call;    /* else a part of one */
    char *name;
    gint64 begin_ns; /* since 1970 */
    gint64 end_ns;
    GArray *notes; /* SpanNote */
    char *failure; /* NULL: it succeeded */
} Span;
void span_free(Span *span); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Span, span_free)

/* samples_per_million: of calls without a trace context. 0 and a negative number differ: negative switches
 * off. */
void spans_switch_on(gint samples_per_million);
void spans_switch_off(void);

/* Reads "00-TRACE-PARENT-FLAGS". Return: FALSE for what is no context. */
gboolean span_context_parse(const char *traceparent, SpanContext *ret_context);

/* Begins the span of a call on this thread. traceparent: of the client; NULL: none. begin_us:
 * g_get_monotonic_time() of its arrival. */
void span_begin(const char *name, const char *traceparent, gint64 begin_us);
/* Adds an attribute to the span of this thread; long values are cut. */
void span_note(const char *key, const char *value);
/* Ends it; failure NULL: the call succeeded. */
void span_end(const char *failure);

/* Return: the context of this thread's span, for parts that other threads add. */
SpanContext span_context(void);
/* Adds a part, which began at begin_us and ends now, to this thread's span, or else to the one of fallback.
 * note NULL: none. */
void span_add_part(const SpanContext *fallback, const char *name, const SpanNote *note, gint64 begin_us);

/* Return: Span, at most max, which the array frees; it waits for the first one, until spans_wake() or the
 * time is over. */
GPtrArray *spans_take(guint max, gint64 timeout_ms);
void spans_wake(void);
