/* SPDX-License-Identifier: Apache-2.0 */
#include "common/spans.h"

#include <string.h>
#include <sys/random.h>

#include "common/metrics.h"

enum { NS_PER_US = 1000, MILLION = 1000000 };

static struct {
    GMutex lock;
    GCond changed;
    GQueue finished; /* Span */
    gboolean woken;
} queue;

static gint samples_per_million = -1; /* atomic; negative: switched off */

/* The span of the call that this thread handles; NULL: none, or one that is not recorded. */
static _Thread_local Span *current;

static Metric dropped = METRIC_COUNTER(
    "crivirt_spans_dropped_total", "Spans dropped because the collector did not take them in time.", NULL);

void spans_switch_on(gint samples)
{
    g_atomic_int_set(&samples_per_million, MAX(samples, 0));
}

void spans_switch_off(void)
{
    g_atomic_int_set(&samples_per_million, -1);
}

static gboolean spans_are_on(void)
{
    return g_atomic_int_get(&samples_per_million) >= 0;
}

static void note_clear(gpointer data)
{
    SpanNote *note = data;

    g_free(note->key);
    g_free(note->value);
}

static Span *span_new(const char *name, gint64 begin_ns)
{
    Span *span = g_new0(Span, 1);

    span->name = g_strdup(name);
    span->begin_ns = begin_ns;
    span->notes = g_array_new(FALSE, FALSE, sizeof(SpanNote));
    g_array_set_clear_func(span->notes, note_clear);
    return span;
}

void span_free(Span *span)
{
    if (span == NULL)
        return;
    g_array_unref(span->notes);
    g_free(span->name);
    g_free(span->failure);
    g_free(span);
}

/* ---- contexts ---- */

static gboolean hex_parse(const char *text, guint8 *ret_bytes, gsize n_bytes)
{
    for (gsize i = 0; i < n_bytes; i++) {
        const gint high = g_ascii_xdigit_value(text[2 * i]);
        const gint low = high >= 0 ? g_ascii_xdigit_value(text[2 * i + 1]) : -1;

        if (low < 0)
            return FALSE;
        ret_bytes[i] = (guint8)(high << 4 | low);
    }
    return TRUE;
}

static gboolean is_zero(const guint8 *bytes, gsize n_bytes)
{
    for (gsize i = 0; i < n_bytes; i++)
        if (bytes[i] != 0)
            return FALSE;
    return TRUE;
}

gboolean span_context_parse(const char *traceparent, SpanContext *ret_context)
{
    enum { TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53, LENGTH = 55 };
    SpanContext context = {FALSE};
    guint8 version;
    guint8 flags;

    /* A later version may append something, after another dash. */
    if (strlen(traceparent) < LENGTH || !hex_parse(traceparent, &version, 1) || version == 0xff ||
        (traceparent[LENGTH] != '\0' && (version == 0 || traceparent[LENGTH] != '-')) ||
        traceparent[TRACE_AT - 1] != '-' || traceparent[PARENT_AT - 1] != '-' ||
        traceparent[FLAGS_AT - 1] != '-' ||
        !hex_parse(traceparent + TRACE_AT, context.trace_id, sizeof context.trace_id) ||
        !hex_parse(traceparent + PARENT_AT, context.span_id, sizeof context.span_id) ||
        !hex_parse(traceparent + FLAGS_AT, &flags, 1) || is_zero(context.trace_id, sizeof context.trace_id) ||
        is_zero(context.span_id, sizeof context.span_id))
        return FALSE;
    context.is_recorded = (flags & 1) != 0;
    *ret_context = context;
    return TRUE;
}

/* Ids have to be unlike those of all other programs. */
static void id_make(guint8 *ret_id, gsize n_bytes)
{
    do {
        if (getrandom(ret_id, n_bytes, 0) != (ssize_t)n_bytes)
            for (gsize i = 0; i < n_bytes; i++)
                ret_id[i] = (guint8)g_random_int_range(0, 256);
    } while (is_zero(ret_id, n_bytes));
}

static gboolean chosen_by_chance(void)
{
    const gint share = g_atomic_int_get(&samples_per_million);

    return share >= MILLION || (share > 0 && g_random_int_range(0, MILLION) < share);
}

/* Stores the context of a new span and its parent. Return: whether it is recorded. */
static gboolean context_make(const char *traceparent, SpanContext *ret_context, guint8 ret_parent_id[8])
{
    SpanContext parent = {FALSE};
    const gboolean has_parent = traceparent != NULL && span_context_parse(traceparent, &parent);

    if (has_parent ? !parent.is_recorded : !chosen_by_chance())
        return FALSE;
    *ret_context = parent;
    ret_context->is_recorded = TRUE;
    memcpy(ret_parent_id, parent.span_id, sizeof parent.span_id); /* zeros without a parent */
    if (!has_parent)
        id_make(ret_context->trace_id, sizeof ret_context->trace_id);
    id_make(ret_context->span_id, sizeof ret_context->span_id);
    return TRUE;
}

/* ---- a call ---- */

static gint64 wall_ns_of(gint64 monotonic_us)
{
    return (g_get_real_time() - (g_get_monotonic_time() - monotonic_us)) * NS_PER_US;
}

static void queue_add(Span *span)
{
    gboolean full;

    span->end_ns = MAX(g_get_real_time() * NS_PER_US, span->begin_ns);
    g_mutex_lock(&queue.lock);
    full = queue.finished.length >= SPANS_MAX;
    if (!full)
        g_queue_push_tail(&queue.finished, span);
    g_cond_signal(&queue.changed);
    g_mutex_unlock(&queue.lock);
    if (!full)
        return;
    metric_add(&dropped, 1, NULL, NULL);
    span_free(span);
}

void span_begin(const char *name, const char *traceparent, gint64 begin_us)
{
    SpanContext context;
    guint8 parent_id[8];

    if (!spans_are_on() || !context_make(traceparent, &context, parent_id))
        return;
    span_free(current);
    current = span_new(name, wall_ns_of(begin_us));
    current->is_call = TRUE;
    current->context = context;
    memcpy(current->parent_id, parent_id, sizeof current->parent_id);
}

static void note_add(Span *span, const char *key, const char *value)
{
    g_autofree char *start = g_strndup(value, SPAN_TEXT_MAX_BYTES);
    const SpanNote note = {g_strdup(key), g_utf8_make_valid(start, -1)};

    g_array_append_val(span->notes, note);
}

void span_note(const char *key, const char *value)
{
    if (current != NULL && value != NULL && *value != '\0' && current->notes->len < SPAN_NOTES_MAX)
        note_add(current, key, value);
}

void span_end(const char *failure)
{
    Span *span = g_steal_pointer(&current);

    if (span == NULL)
        return;
    if (failure != NULL) {
        g_autofree char *start = g_strndup(failure, SPAN_TEXT_MAX_BYTES);

        span->failure = g_utf8_make_valid(start, -1);
    }
    queue_add(span);
}

SpanContext span_context(void)
{
    return current != NULL ? current->context : (SpanContext){FALSE};
}

void span_add_part(const SpanContext *fallback, const char *name, const SpanNote *note, gint64 begin_us)
{
    const SpanContext *parent = current != NULL ? &current->context : fallback;
    Span *span;

    if (!spans_are_on() || !parent->is_recorded)
        return;
    span = span_new(name, wall_ns_of(begin_us));
    span->context = *parent;
    memcpy(span->parent_id, parent->span_id, sizeof span->parent_id);
    id_make(span->context.span_id, sizeof span->context.span_id);
    if (note != NULL)
        note_add(span, note->key, note->value);
    queue_add(span);
}

/* ---- the exporter's side ---- */

GPtrArray *spans_take(guint max, gint64 timeout_ms)
{
    GPtrArray *taken = g_ptr_array_new_with_free_func((GDestroyNotify)span_free);
    const gint64 until_us = g_get_monotonic_time() + timeout_ms * 1000;

    g_mutex_lock(&queue.lock);
    while (queue.finished.length == 0 && !queue.woken &&
           g_cond_wait_until(&queue.changed, &queue.lock, until_us))
        continue;
    queue.woken = FALSE;
    while (taken->len < max && queue.finished.length > 0)
        g_ptr_array_add(taken, g_queue_pop_head(&queue.finished));
    g_mutex_unlock(&queue.lock);
    return taken;
}

void spans_wake(void)
{
    g_mutex_lock(&queue.lock);
    queue.woken = TRUE;
    g_cond_broadcast(&queue.changed);
    g_mutex_unlock(&queue.lock);
}
