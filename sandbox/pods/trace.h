/* SPDX-License-Identifier: Apache-2.0 */
/* A trace of the start of a pod and of its containers, phase by phase (trace.def). It is kept in memory as
 * long as this daemon has a record of the pod, and counted in the metrics.
 *
 * Bounded: of a pod whose containers start again and again, the newest starts are kept, and the pod's own.
 * Any thread.
 */
#pragma once

#include <glib.h>

typedef enum {
#define TRACE_PHASE(NAME, name, track, help) TRACE_##NAME,
#include "sandbox/pods/trace.def"
#undef TRACE_PHASE
    TRACE_N_PHASES,
} TracePhase;

enum { TRACE_EVENTS_MAX = 128 };

typedef struct Trace Trace;

Trace *trace_new(void);        /* origin of the times in the JSON */
void trace_free(Trace *trace); /* takes NULL */

/* Adds a phase that began at begin_us (g_get_monotonic_time()) and ends now. container: its name; NULL: a
 * phase of the pod. */
void trace_add(Trace *trace, TracePhase phase, const char *container, gint64 begin_us);

/* Return: the trace in Chrome's trace event format (JSON), which Perfetto shows, and which the caller frees:
 * an object with traceEvents, in microseconds, and otherData, with the pod, how its guest started (start;
 * NULL: not known) and when the trace began. */
char *trace_json(Trace *trace, const char *pod, const char *start);
