/* SPDX-License-Identifier: Apache-2.0 */
/* What unpacking one layer, or an archive of images, may cost the node: entries, memory and processor time.
 *
 * Memory is what the names, directories, attributes and links of the layer take until its image is written;
 * contents of files go to the image at once. Each place that allocates for them takes from the budget before,
 * so the sum is an estimate that is a little high. Time is processor time of the threads that work on the
 * layer, because the wall clock would refuse an innocent layer on a busy node; content may take more of it,
 * in proportion to its bytes.
 *
 * A budget belongs to the layer's draft, and to one thread at a time.
 * Errors: RESOURCE_EXHAUSTED with a message that names the limit and its option; the deadline's.
 */
#pragma once

#include "common/deadline.h"

typedef struct {
    guint max_entries;
    guint64 max_memory_bytes;
    gint64 max_time_ms;
    gboolean is_archive; /* messages name the archive, not the layer */
} LayerLimits;

typedef struct {
    LayerLimits limits;
    const Deadline *deadline; /* of the step; borrowed */
    guint64 memory_bytes;
    guint64 peak_memory_bytes;
    guint64 content_bytes; /* read or copied so far */
    gint64 earlier_us;     /* processor time of the steps before */
    gint64 began_us;       /* what the thread had used when the step began */
    guint ticks;
} LayerBudget;

/* A step of the layer's work begins and ends in this thread. */
void layer_budget_begin(LayerBudget *budget, const Deadline *deadline);
void layer_budget_end(LayerBudget *budget);

/* Takes the memory of one allocation of that size, with what the allocator adds. */
gboolean layer_budget_take(LayerBudget *budget, gsize bytes, GError **error);
/* Gives back the memory of allocations, as layer_budget_cost() counts them. */
void layer_budget_give(LayerBudget *budget, guint64 cost);
guint64 layer_budget_cost(gsize bytes);

/* Content of that many bytes arrived, which may take its time. */
void layer_budget_add_content(LayerBudget *budget, guint64 bytes);
/* Return: whether the work may go on: there is time left, and the caller still waits. */
gboolean layer_budget_check(LayerBudget *budget, GError **error);
/* The same for short steps: looks at the clock once in 64 calls. */
gboolean layer_budget_tick(LayerBudget *budget, GError **error);
