/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/trace_view.h"

#include "common/json.h"
#include <string.h>

#include "common/error.h"

enum {
    EVENTS_MAX = 10000,
    PART_GAP_US = 2 * 1000 * 1000, /* a longer pause begins a new part */
    BAR_MIN = 10,
    BAR_MAX = 100,
    NUMBERS_COLUMNS = 26, /* "  12345.6 ms  12345.6 ms  " */
};

typedef struct {
    char *title; /* "boot", "web: create" */
    gint64 begin_us;
    gint64 end_us;
    guint depth; /* the number of phases of its track that enclose it */
    gint64 track;
} Row;

struct TraceView {
    char *pod;
    char *start; /* NULL when the trace does not contain it */
    char *began;
    GPtrArray *rows; /* Row, by begin */
};

static void row_free(gpointer data)
{
    Row *row = data;

    g_free(row->title);
    g_free(row);
}

void trace_view_free(TraceView *view)
{
    if (view == NULL)
        return;
    g_free(view->pod);
    g_free(view->start);
    g_free(view->began);
    g_ptr_array_unref(view->rows);
    g_free(view);
}

/* ---- reading ---- */

/* Return: the string at outer, or at outer.inner; NULL when there is none. */
static const char *text_at(const JsonValue *object, const char *outer, const char *inner)
{
    return json_find_string(object, (const char *const[]){outer, inner, NULL});
}

static gboolean number_at(const JsonValue *object, const char *key, gint64 *ret_number)
{
    gint64 number;

    if (!json_find_int(object, (const char *const[]){key, NULL}, &number) || number < 0 ||
        number > G_MAXINT64 / 4)
        return FALSE;
    *ret_number = number;
    return TRUE;
}

/* Return: the names of the tracks, by number; borrowed from events. */
static GHashTable *tracks_read(const JsonValue *events)
{
    GHashTable *tracks = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);

    for (gsize i = 0; i < json_length(events); i++) {
        const JsonValue *event = json_at(events, i);
        const char *name = text_at(event, "args", "name");
        gint64 track;

        if (g_strcmp0(text_at(event, "name", NULL), "thread_name") == 0 && name != NULL &&
            number_at(event, "tid", &track))
            g_hash_table_insert(tracks, g_memdup2(&track, sizeof track), (gpointer)name);
    }
    return tracks;
}

static Row *row_read(const JsonValue *event, GHashTable *tracks, GError **error)
{
    const char *name = text_at(event, "name", NULL);
    const char *category = text_at(event, "cat", NULL);
    const char *track_name;
    gint64 begin_us;
    gint64 length_us;
    gint64 track;
    Row *row;

    if (name == NULL || !number_at(event, "ts", &begin_us) || !number_at(event, "dur", &length_us) ||
        !number_at(event, "tid", &track)) {
        fail(error, STATUS_INTERNAL, "an event of the trace lacks its name, time or track");
        return NULL;
    }
    row = g_new0(Row, 1);
    track_name = g_hash_table_lookup(tracks, &track);
    row->title = g_strcmp0(category, "container") == 0 && track_name != NULL
                     ? g_strdup_printf("%s: %s", track_name, name)
                     : g_strdup(name);
    row->begin_us = begin_us;
    row->end_us = begin_us + length_us;
    row->track = track;
    return row;
}

/* An enclosing phase precedes the phases in it. */
static gint compare_rows(gconstpointer a, gconstpointer b)
{
    const Row *x = *(Row *const *)a;
    const Row *y = *(Row *const *)b;

    if (x->begin_us != y->begin_us)
        return x->begin_us < y->begin_us ? -1 : 1;
    return (x->end_us < y->end_us) - (x->end_us > y->end_us);
}

/* Sorts by track. */
static gint compare_tracks(gconstpointer a, gconstpointer b)
{
    gint64 x = (*(Row *const *)a)->track;
    gint64 y = (*(Row *const *)b)->track;

    return x != y ? (x > y) - (x < y) : compare_rows(a, b);
}

static gboolean encloses(const Row *outer, const Row *inner)
{
    return outer->track == inner->track && outer->begin_us <= inner->begin_us &&
           inner->end_us <= outer->end_us;
}

static gboolean events_read(TraceView *view, const JsonValue *events, GError **error)
{
    g_autoptr(GHashTable) tracks = tracks_read(events);

    for (size_t i = 0; i < MIN(json_length(events), (size_t)EVENTS_MAX); i++) {
        Row *row;

        if (g_strcmp0(text_at(json_at(events, i), "ph", NULL), "X") != 0)
            continue;
        row = row_read(json_at(events, i), tracks, error);
        if (row == NULL)
            return FALSE;
        g_ptr_array_add(view->rows, row);
    }
    g_ptr_array_sort(view->rows, compare_rows);
    for (guint i = 0; i < view->rows->len; i++)
        for (guint j = 0; j < i; j++)
            ((Row *)view->rows->pdata[i])->depth += encloses(view->rows->pdata[j], view->rows->pdata[i]);
    return TRUE;
}

TraceView *trace_view_parse(const char *json, GError **error)
{
    g_autoptr(TraceView) view = g_new0(TraceView, 1);
    g_autoptr(JsonDocument) document = json_document_parse(json, strlen(json), "trace", NULL, NULL);
    const JsonValue *root = document != NULL ? json_document_root(document) : NULL;
    const JsonValue *events = json_is(root, JSON_OBJECT) ? json_member(root, "traceEvents") : NULL;

    view->rows = g_ptr_array_new_with_free_func(row_free);
    if (!json_is(events, JSON_ARRAY)) {
        fail(error, STATUS_INTERNAL, "the trace is not a JSON object with traceEvents");
        return NULL;
    }
    view->pod = g_strdup(text_at(root, "otherData", "pod"));
    view->start = g_strdup(text_at(root, "otherData", "start"));
    view->began = g_strdup(text_at(root, "otherData", "began"));
    return events_read(view, events, error) ? g_steal_pointer(&view) : NULL;
}

/* ---- showing ---- */

/* Return: end, so that rows [first, end) belong together: no long pause precedes any of them but the first.
 */
static guint part_end(const GPtrArray *rows, guint first, gint64 *ret_end_us)
{
    gint64 end_us = ((Row *)rows->pdata[first])->end_us;
    guint i;

    for (i = first + 1; i < rows->len; i++) {
        const Row *row = rows->pdata[i];

        if (row->begin_us > end_us + PART_GAP_US)
            break;
        end_us = MAX(end_us, row->end_us);
    }
    *ret_end_us = end_us;
    return i;
}

static guint title_columns(const GPtrArray *rows)
{
    guint columns = 0;

    for (guint i = 0; i < rows->len; i++) {
        const Row *row = rows->pdata[i];

        columns = MAX(columns, 2 * row->depth + (guint)g_utf8_strlen(row->title, -1));
    }
    return columns;
}

static double milliseconds(gint64 us)
{
    return (double)us / 1000;
}

static void append_repeated(GString *text, const char *piece, gint64 times)
{
    for (gint64 i = 0; i < times; i++)
        g_string_append(text, piece);
}

/* Times are relative to the trace's beginning. Each phase gets at least one character. */
static void append_row(GString *text, const Row *row, guint title_width, gint64 from_us, gint64 span_us,
                       guint bar_width, const char *piece)
{
    gint64 start = (row->begin_us - from_us) * bar_width / span_us;
    gint64 end = (row->end_us - from_us) * bar_width / span_us;
    guint width = 2 * row->depth + (guint)g_utf8_strlen(row->title, -1);

    start = MIN(start, (gint64)bar_width - 1);
    append_repeated(text, "  ", row->depth);
    g_string_append(text, row->title);
    append_repeated(text, " ", title_width - width);
    g_string_append_printf(text, "  %8.1f ms  %8.1f ms  ", milliseconds(row->begin_us),
                           milliseconds(row->end_us - row->begin_us));
    append_repeated(text, " ", start);
    append_repeated(text, piece, MAX(end - start, 1));
    g_string_append_c(text, '\n');
}

static void append_heading(GString *text, const TraceView *view, guint title_width)
{
    g_string_append_printf(text, "pod %s%s%s, from %s\n", view->pod != NULL ? view->pod : "?",
                           view->start != NULL ? ", " : "", view->start != NULL ? view->start : "",
                           view->began != NULL ? view->began : "?");
    if (view->rows->len == 0)
        g_string_append(text, "no trace of its start: an earlier daemon started it\n");
    else
        g_string_append_printf(text, "%-*s  %11s  %11s\n", (int)title_width, "PHASE", "BEGAN", "TOOK");
}

/* Draws rows that belong together on one scale. */
static void append_part(GString *text, Row *const *rows, guint n_rows, gint64 end_us, guint title_width,
                        guint bar_width, const char *piece)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_sized_new(n_rows);
    gint64 from_us = rows[0]->begin_us;

    for (guint i = 0; i < n_rows; i++)
        g_ptr_array_add(sorted, rows[i]);
    g_ptr_array_sort(sorted, compare_tracks);
    for (guint i = 0; i < n_rows; i++)
        append_row(text, sorted->pdata[i], title_width, from_us, MAX(end_us - from_us, 1), bar_width, piece);
}

char *trace_view_format(const TraceView *view, guint columns, gboolean blocks)
{
    GString *text = g_string_new(NULL);
    guint title_width = MAX(title_columns(view->rows), (guint)strlen("PHASE"));
    guint taken = title_width + NUMBERS_COLUMNS + 2;
    guint bar_width = CLAMP(columns > taken ? columns - taken : 0, BAR_MIN, BAR_MAX);
    guint end;

    append_heading(text, view, title_width);
    for (guint first = 0; first < view->rows->len; first = end) {
        gint64 end_us;

        end = part_end(view->rows, first, &end_us);
        if (first > 0)
            g_string_append_c(text, '\n');
        append_part(text, (Row *const *)&view->rows->pdata[first], end - first, end_us, title_width,
                    bar_width, blocks ? "\xe2\x96\x88" : "#");
    }
    return g_string_free(text, FALSE);
}
