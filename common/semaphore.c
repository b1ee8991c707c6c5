/* SPDX-License-Identifier: Apache-2.0 */
#include "common/semaphore.h"

void semaphore_init(Semaphore *slots, guint count)
{
    g_mutex_init(&slots->lock);
    g_cond_init(&slots->changed);
    slots->count = slots->free = count;
    slots->next_ticket = 0;
    slots->now_serving = 0;
    slots->given_up = g_array_new(FALSE, FALSE, sizeof(guint64));
}

void semaphore_clear(Semaphore *slots)
{
    g_mutex_clear(&slots->lock);
    g_cond_clear(&slots->changed);
    g_clear_pointer(&slots->given_up, g_array_unref);
}

/* The next ticket whose holder still waits. Locked. */
static void serve_next(Semaphore *slots)
{
    gboolean skipped;

    slots->now_serving++;
    do {
        skipped = FALSE;
        for (guint i = 0; i < slots->given_up->len && !skipped; i++)
            if (g_array_index(slots->given_up, guint64, i) == slots->now_serving) {
                g_array_remove_index_fast(slots->given_up, i);
                slots->now_serving++;
                skipped = TRUE;
            }
    } while (skipped);
    g_cond_broadcast(&slots->changed);
}

gboolean semaphore_acquire(Semaphore *slots, const Deadline *deadline, const char *doing, GError **error)
{
    gboolean taken = TRUE;
    guint64 ticket;

    g_mutex_lock(&slots->lock);
    ticket = slots->next_ticket++;
    while (taken && (slots->free == 0 || slots->now_serving != ticket))
        taken = deadline_cond_wait(deadline, &slots->changed, &slots->lock, doing, error);
    if (taken) {
        slots->free--;
        serve_next(slots);
    } else if (slots->now_serving == ticket) {
        serve_next(slots);
    } else {
        g_array_append_val(slots->given_up, ticket);
    }
    g_mutex_unlock(&slots->lock);
    return taken;
}

/* Locked. */
static gboolean is_idle(const Semaphore *slots)
{
    return slots->free == slots->count && slots->next_ticket == slots->now_serving;
}

gboolean semaphore_acquire_idle(Semaphore *slots, gint64 patience_ms, const Deadline *deadline,
                                const char *doing, GError **error)
{
    Deadline patience = deadline_sooner(deadline, patience_ms);
    gboolean waiting = TRUE;
    gboolean idle;

    g_mutex_lock(&slots->lock);
    while (!(idle = is_idle(slots)) && waiting)
        waiting = deadline_cond_wait(&patience, &slots->changed, &slots->lock, doing, NULL);
    if (idle) {
        slots->next_ticket++;
        slots->free--;
        serve_next(slots);
    }
    g_mutex_unlock(&slots->lock);
    return idle ||
           (deadline_check(deadline, doing, error) && semaphore_acquire(slots, deadline, doing, error));
}

void semaphore_release(Semaphore *slots)
{
    g_mutex_lock(&slots->lock);
    slots->free++;
    g_cond_broadcast(&slots->changed);
    g_mutex_unlock(&slots->lock);
}
