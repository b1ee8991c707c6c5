/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer_budget.h"

#include "common/clock.h"
#include "common/error.h"

enum {
    CONTENT_BYTES_PER_S = 16 << 20,
    TICKS_PER_CHECK = 64,
    /* glibc's: a header of a word, units of two words, at least four words. */
    ALLOCATION_HEADER_BYTES = 8,
    ALLOCATION_UNIT_BYTES = 16,
    ALLOCATION_MIN_BYTES = 32,
};

void layer_budget_begin(LayerBudget *budget, const Deadline *deadline)
{
    budget->deadline = deadline;
    budget->began_us = clock_read_ns(CLOCK_THREAD_CPUTIME_ID) / 1000;
}

void layer_budget_end(LayerBudget *budget)
{
    budget->earlier_us += clock_read_ns(CLOCK_THREAD_CPUTIME_ID) / 1000 - budget->began_us;
    budget->deadline = NULL;
}

guint64 layer_budget_cost(gsize bytes)
{
    guint64 rounded = (bytes + ALLOCATION_HEADER_BYTES + ALLOCATION_UNIT_BYTES - 1) / ALLOCATION_UNIT_BYTES *
                      ALLOCATION_UNIT_BYTES;

    return bytes == 0 ? 0 : MAX(rounded, (guint64)ALLOCATION_MIN_BYTES);
}

gboolean layer_budget_take(LayerBudget *budget, gsize bytes, GError **error)
{
    guint64 cost = layer_budget_cost(bytes);

    if (cost > budget->limits.max_memory_bytes - budget->memory_bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "%s take more than %" G_GUINT64_FORMAT " bytes of memory (images.max_layer_memory)",
                    budget->limits.is_archive ? "the names and JSON documents of the archive"
                                              : "the names, directories and attributes of the layer",
                    budget->limits.max_memory_bytes);
    budget->memory_bytes += cost;
    budget->peak_memory_bytes = MAX(budget->peak_memory_bytes, budget->memory_bytes);
    return TRUE;
}

void layer_budget_give(LayerBudget *budget, guint64 cost)
{
    budget->memory_bytes -= MIN(cost, budget->memory_bytes);
}

void layer_budget_add_content(LayerBudget *budget, guint64 bytes)
{
    budget->content_bytes += bytes;
}

gboolean layer_budget_check(LayerBudget *budget, GError **error)
{
    gint64 used_us = budget->earlier_us + clock_read_ns(CLOCK_THREAD_CPUTIME_ID) / 1000 - budget->began_us;
    guint64 content_us = budget->content_bytes / (CONTENT_BYTES_PER_S / G_USEC_PER_SEC);

    if (!deadline_check(budget->deadline,
                        budget->limits.is_archive ? "reading an archive" : "unpacking a layer", error))
        return FALSE;
    if ((guint64)used_us > (guint64)budget->limits.max_time_ms * 1000 + content_us)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "unpacking the %s takes more than %.1f s of processor time (images.max_layer_time, and "
                    "1 s for each %d MiB of its content)",
                    budget->limits.is_archive ? "archive" : "layer",
                    (double)budget->limits.max_time_ms / 1000, CONTENT_BYTES_PER_S >> 20);
    return TRUE;
}

gboolean layer_budget_tick(LayerBudget *budget, GError **error)
{
    return ++budget->ticks % TICKS_PER_CHECK != 0 || layer_budget_check(budget, error);
}
