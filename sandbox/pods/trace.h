/* What the start of a pod and of its containers took, phase by phase (trace.def): kept in memory for as long
 * as the pod is known to this daemon, and counted in the metrics.
 *
 * Bounded: of a pod whose containers start again and again the newest starts are kept, and the pod's own. Any
 * thread.
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

Trace *trace_new(void);        /* times are shown from here on */
void trace_free(Trace *trace); /* takes NULL */

/* The phase began then (g_get_monotonic_time()) and ends now. container: its name; NULL: it is the pod's. */
void trace_add(Trace *trace, TracePhase phase, const char *container, gint64 begin_us);

/* In Chrome's trace event format (JSON), which Perfetto shows: an object with traceEvents, in microseconds,
 * and otherData, which names the pod, how its guest came to run (start, NULL: not known) and when the trace
 * began. The caller frees it. */
char *trace_json(Trace *trace, const char *pod, const char *start);
