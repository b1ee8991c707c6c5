/* SPDX-License-Identifier: Apache-2.0 */
/* Formats the progress of a pull: bars to redraw on a terminal, or one line per change. It prints nothing
 * itself.
 *
 * Threads: one.
 */
#pragma once

#include <glib.h>

#include "crivirt.pb-c.h"

typedef struct PullView PullView;

PullView *pull_view_new(void);
void pull_view_free(PullView *view); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PullView, pull_view_free)

/* Takes the layers that changed, and appends "4abcf2066143: unpacking\n" to changes (may be NULL) for each
 * layer with a new state. */
void pull_view_update(PullView *view, const Crivirt__V1__PullProgress *progress, GString *changes);

/* Return: one line per layer, at most max_lines lines of at most width columns, each ending in a newline; the
 * caller frees it. Layers in progress precede finished ones when there are more. *ret_lines is the number of
 * lines. */
char *pull_view_format(const PullView *view, guint width, guint max_lines, guint *ret_lines);
