/* The progress of a pull, as lines of text: redrawn bars on a terminal, one line per change elsewhere.
 *
 * Pure but for the memory; no output of its own. Not thread-safe.
 */
#pragma once

#include <glib.h>

#include "crivirt.pb-c.h"

typedef struct PullView PullView;

PullView *pull_view_new(void);
void pull_view_free(PullView *view); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PullView, pull_view_free)

/* Takes the layers that changed. changes (may be NULL): "4abcf2066143: unpacking\n" for each layer whose
 * state is another one than before is appended. */
void pull_view_update(PullView *view, const Crivirt__V1__PullProgress *progress, GString *changes);

/* One line per layer, at most max_lines of at most width columns, each ending in a newline; layers at work
 * come before finished ones when there are too many. *ret_lines: how many. The caller frees. */
char *pull_view_format(const PullView *view, guint width, guint max_lines, guint *ret_lines);
