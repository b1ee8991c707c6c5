/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/pull_view.h"

#include <string.h>

#include "cri-server/cli/human.h"

typedef Crivirt__V1__LayerProgress__State State;

typedef struct {
    char *digest;
    State state;
    guint64 done_bytes;
    guint64 total_bytes;
} Layer;

struct PullView {
    GPtrArray *layers; /* in the order of their first report */
};

static void layer_free(gpointer pointer)
{
    Layer *layer = pointer;

    g_free(layer->digest);
    g_free(layer);
}

PullView *pull_view_new(void)
{
    PullView *view = g_new0(PullView, 1);

    view->layers = g_ptr_array_new_with_free_func(layer_free);
    return view;
}

void pull_view_free(PullView *view)
{
    if (view == NULL)
        return;
    g_ptr_array_unref(view->layers);
    g_free(view);
}

static const char *state_name(State state)
{
    switch (state) {
    case CRIVIRT__V1__LAYER_PROGRESS__STATE__WAITING:
        return "waiting";
    case CRIVIRT__V1__LAYER_PROGRESS__STATE__DOWNLOADING:
        return "downloading";
    case CRIVIRT__V1__LAYER_PROGRESS__STATE__UNPACKING:
        return "unpacking";
    case CRIVIRT__V1__LAYER_PROGRESS__STATE__DONE:
        return "done";
    case CRIVIRT__V1__LAYER_PROGRESS__STATE__EXISTS:
        return "already present";
    default:
        return "?";
    }
}

static gboolean is_finished(const Layer *layer)
{
    return layer->state == CRIVIRT__V1__LAYER_PROGRESS__STATE__DONE ||
           layer->state == CRIVIRT__V1__LAYER_PROGRESS__STATE__EXISTS;
}

static Layer *layer_of(PullView *view, const char *digest, gboolean *ret_new)
{
    Layer *layer;

    for (guint i = 0; i < view->layers->len; i++) {
        layer = g_ptr_array_index(view->layers, i);
        if (strcmp(layer->digest, digest) == 0) {
            *ret_new = FALSE;
            return layer;
        }
    }
    layer = g_new0(Layer, 1);
    layer->digest = g_strdup(digest);
    g_ptr_array_add(view->layers, layer);
    *ret_new = TRUE;
    return layer;
}

void pull_view_update(PullView *view, const Crivirt__V1__PullProgress *progress, GString *changes)
{
    for (size_t i = 0; i < progress->n_layers; i++) {
        const Crivirt__V1__LayerProgress *update = progress->layers[i];
        gboolean is_new;
        Layer *layer = layer_of(view, update->digest, &is_new);

        if (changes != NULL && (is_new || layer->state != update->state)) {
            g_autofree char *id = human_short_id(update->digest);

            g_string_append_printf(changes, "%s: %s\n", id, state_name(update->state));
        }
        layer->state = update->state;
        layer->done_bytes = update->done_bytes;
        layer->total_bytes = update->total_bytes;
    }
}

static void append_bar(GString *line, double done, guint cells)
{
    guint filled = (guint)(CLAMP(done, 0.0, 1.0) * cells);

    g_string_append_c(line, '[');
    for (guint i = 0; i < cells; i++)
        g_string_append_c(line, i < filled ? '=' : i == filled ? '>' : ' ');
    g_string_append_c(line, ']');
}

/* "4abcf2066143: downloading  [====>     ]  1.2MB/3.4MB" */
static char *format_layer(const Layer *layer, guint width)
{
    enum { TEXT_COLUMNS = 48, MIN_BAR = 10, MAX_BAR = 50 };
    GString *line = g_string_new(NULL);
    g_autofree char *id = human_short_id(layer->digest);
    g_autofree char *done = human_size(layer->done_bytes);
    g_autofree char *total = human_size(layer->total_bytes);

    g_string_append_printf(line, "%s: %-12s", id, state_name(layer->state));
    if (!is_finished(layer) && layer->total_bytes > 0) {
        if (width >= TEXT_COLUMNS + MIN_BAR)
            append_bar(line, (double)layer->done_bytes / (double)layer->total_bytes,
                       MIN(width - TEXT_COLUMNS, (guint)MAX_BAR));
        g_string_append_printf(line, "  %s/%s", done, total);
    } else if (!is_finished(layer) && layer->done_bytes > 0) {
        g_string_append_printf(line, "%s", done);
    }
    g_string_truncate(line, MIN(line->len, (gsize)width));
    g_string_append_c(line, '\n');
    return g_string_free(line, FALSE);
}

static guint append_layers(const PullView *view, gboolean finished, guint width, guint max_lines,
                           GString *text)
{
    guint lines = 0;

    for (guint i = 0; i < view->layers->len && lines < max_lines; i++) {
        const Layer *layer = g_ptr_array_index(view->layers, i);
        g_autofree char *line = NULL;

        if (is_finished(layer) != finished)
            continue;
        line = format_layer(layer, width);
        g_string_append(text, line);
        lines++;
    }
    return lines;
}

char *pull_view_format(const PullView *view, guint width, guint max_lines, guint *ret_lines)
{
    GString *text = g_string_new(NULL);

    if (view->layers->len <= max_lines) {
        for (guint i = 0; i < view->layers->len; i++) {
            g_autofree char *line = format_layer(g_ptr_array_index(view->layers, i), width);

            g_string_append(text, line);
        }
        *ret_lines = view->layers->len;
    } else {
        *ret_lines = append_layers(view, FALSE, width, max_lines, text);
        *ret_lines += append_layers(view, TRUE, width, max_lines - *ret_lines, text);
    }
    return g_string_free(text, FALSE);
}
