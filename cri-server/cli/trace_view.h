/* SPDX-License-Identifier: Apache-2.0 */
/* Draws the trace of a pod's start as a timeline for the terminal. Pure.
 *
 * Reads Chrome's trace event format as crivirtd writes it: complete events ("X") and the names of their
 * tracks ("M").
 */
#pragma once

#include <glib.h>

typedef struct TraceView TraceView;

/* Errors: INTERNAL when the text is no such trace. */
TraceView *trace_view_parse(const char *json, GError **error);
void trace_view_free(TraceView *view); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TraceView, trace_view_free)

/* Return: the timeline for a terminal of that width; the caller frees it. blocks: draw bars with block
 * characters instead of "#". Phases long after the ones before them, such as those of a restarted container,
 * begin a part with its own scale. */
char *trace_view_format(const TraceView *view, guint columns, gboolean blocks);
