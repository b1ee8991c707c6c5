/* The trace of a pod's start as a timeline for the terminal. Pure.
 *
 * Reads Chrome's trace event format as crivirtd writes it (sandbox/pods/trace.h): complete events ("X") and
 * the names of their tracks ("M").
 */
#pragma once

#include <glib.h>

typedef struct TraceView TraceView;

/* INTERNAL when the text is no such trace. */
TraceView *trace_view_parse(const char *json, GError **error);
void trace_view_free(TraceView *view); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TraceView, trace_view_free)

/* For a terminal of so many columns; blocks: bars of block characters instead of "#". Phases that come long
 * after the ones before, as those of a container that was started again, begin a part with a scale of its
 * own. The caller frees it.
 */
char *trace_view_format(const TraceView *view, guint columns, gboolean blocks);
