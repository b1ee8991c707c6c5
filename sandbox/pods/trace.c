/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/trace.h"

#include "common/json_writer.h"
#include "common/lock_assert.h"
#include "common/metrics.h"
#include "common/spans.h"

enum { NAME_MAX_BYTES = 64, PROCESS = 1 };

/* Each container has a track, from TRACK_CONTAINER on. */
typedef enum { TRACK_VM = 1, TRACK_NETWORK, TRACK_CONTAINER } Track;

typedef struct {
    TracePhase phase;
    char *container; /* NULL: a phase of the pod */
    gint64 begin_us;
    gint64 end_us;
} TraceEvent;

struct Trace {
    GMutex lock;
    gint64 origin_us; /* monotonic */
    gint64 began_at_us;
    GPtrArray *events; /* TraceEvent, sorted by end */
    SpanContext start; /* the span of the call that starts the pod */
};

static const struct {
    const char *name;
    Track track;
} phases[] = {
#define TRACE_PHASE(NAME, name, track, help) {name, TRACK_##track},
#include "sandbox/pods/trace.def"
#undef TRACE_PHASE
};

static Metric pod_seconds =
    METRIC_SECONDS("crivirt_pod_start_seconds", "What starting a pod takes, by phase.", "phase");
static Metric container_seconds =
    METRIC_SECONDS("crivirt_container_start_seconds", "What starting a container takes, by phase.", "phase");

static void event_free(gpointer data)
{
    TraceEvent *event = data;

    g_free(event->container);
    g_free(event);
}

Trace *trace_new(void)
{
    Trace *trace = g_new0(Trace, 1);

    g_mutex_init(&trace->lock);
    trace->origin_us = g_get_monotonic_time();
    trace->began_at_us = g_get_real_time();
    trace->events = g_ptr_array_new_with_free_func(event_free);
    trace->start = span_context();
    return trace;
}

void trace_free(Trace *trace)
{
    if (trace == NULL)
        return;
    g_ptr_array_unref(trace->events);
    g_mutex_clear(&trace->lock);
    g_free(trace);
}

/* Called with the lock held. Removes the oldest event of a container to make room. */
static void forget_oldest_locked(Trace *trace)
{
    guint oldest = 0;

    LOCK_ASSERT_HELD(&trace->lock);
    while (oldest + 1 < trace->events->len && ((TraceEvent *)trace->events->pdata[oldest])->container == NULL)
        oldest++;
    g_ptr_array_remove_index(trace->events, oldest);
}

/* Names come from the client and may be long. */
static char *name_copy(const char *name)
{
    g_autofree char *start = g_strndup(name, NAME_MAX_BYTES);

    return g_utf8_make_valid(start, -1);
}

void trace_add(Trace *trace, TracePhase phase, const char *container, gint64 begin_us)
{
    TraceEvent *event = g_new0(TraceEvent, 1);

    event->phase = phase;
    event->container = container != NULL ? name_copy(container) : NULL;
    event->begin_us = begin_us;
    event->end_us = g_get_monotonic_time();
    span_add_part(&trace->start, phases[phase].name, NULL, begin_us);
    metric_observe(container != NULL ? &container_seconds : &pod_seconds,
                   (double)(event->end_us - begin_us) / G_USEC_PER_SEC, phases[phase].name, NULL);
    g_mutex_lock(&trace->lock);
    if (trace->events->len >= TRACE_EVENTS_MAX)
        forget_oldest_locked(trace);
    g_ptr_array_add(trace->events, event);
    g_mutex_unlock(&trace->lock);
}

/* ---- JSON ---- */

/* Containers have tracks in the order in which they first appear. */
static guint track_of(GPtrArray *containers, const TraceEvent *event)
{
    guint index;

    if (event->container == NULL)
        return phases[event->phase].track;
    if (!g_ptr_array_find_with_equal_func(containers, event->container, g_str_equal, &index)) {
        index = containers->len;
        g_ptr_array_add(containers, event->container);
    }
    return TRACK_CONTAINER + index;
}

static void put_event(JsonWriter *json, const Trace *trace, const TraceEvent *event, guint track)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "ph", "X");
    json_writer_int(json, "pid", PROCESS);
    json_writer_int(json, "tid", track);
    json_writer_string(json, "cat", event->container != NULL ? "container" : "pod");
    json_writer_string(json, "name", phases[event->phase].name);
    json_writer_int(json, "ts", MAX(event->begin_us - trace->origin_us, 0));
    json_writer_int(json, "dur", MAX(event->end_us - event->begin_us, 0));
    json_writer_close_object(json);
}

/* track 0: the name of the process. Readers expect a category and a time here as well, as Chrome writes
 * them. */
static void put_name(JsonWriter *json, guint track, const char *name)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "ph", "M");
    json_writer_int(json, "pid", PROCESS);
    json_writer_int(json, "tid", track);
    json_writer_string(json, "cat", "__metadata");
    json_writer_string(json, "name", track == 0 ? "process_name" : "thread_name");
    json_writer_int(json, "ts", 0);
    json_writer_open_object(json, "args");
    json_writer_string(json, "name", name);
    json_writer_close_object(json);
    json_writer_close_object(json);
}

static void put_events(JsonWriter *json, Trace *trace, const char *pod)
{
    g_autoptr(GPtrArray) containers = g_ptr_array_new();

    put_name(json, 0, pod);
    put_name(json, TRACK_VM, "vm");
    put_name(json, TRACK_NETWORK, "network");
    g_mutex_lock(&trace->lock);
    for (guint i = 0; i < trace->events->len; i++) {
        const TraceEvent *event = trace->events->pdata[i];

        put_event(json, trace, event, track_of(containers, event));
    }
    for (guint i = 0; i < containers->len; i++)
        put_name(json, TRACK_CONTAINER + i, containers->pdata[i]);
    g_mutex_unlock(&trace->lock);
}

char *trace_json(Trace *trace, const char *pod, const char *start)
{
    g_autoptr(GDateTime) began = g_date_time_new_from_unix_utc(trace->began_at_us / G_USEC_PER_SEC);
    g_autofree char *began_text = g_date_time_format_iso8601(began);
    g_autoptr(JsonWriter) json = json_writer_new();

    json_writer_open_object(json, NULL);
    json_writer_string(json, "displayTimeUnit", "ms");
    json_writer_open_object(json, "otherData");
    json_writer_string(json, "pod", pod);
    json_writer_string(json, "began", began_text);
    if (start != NULL)
        json_writer_string(json, "start", start);
    json_writer_close_object(json);
    json_writer_open_array(json, "traceEvents");
    put_events(json, trace, pod);
    json_writer_close_array(json);
    json_writer_close_object(json);
    return json_writer_copy(json);
}
