/* SPDX-License-Identifier: Apache-2.0 */
#include "common/semaphore.h"

void semaphore_init(Semaphore *semaphore, guint count)
{
    g_mutex_init(&semaphore->lock);
    g_cond_init(&semaphore->changed);
    semaphore->count = semaphore->free = count;
    semaphore->next_ticket = 0;
    semaphore->now_serving = 0;
    semaphore->given_up = g_array_new(FALSE, FALSE, sizeof(guint64));
}

void semaphore_clear(Semaphore *semaphore)
{
    g_mutex_clear(&semaphore->lock);
    g_cond_clear(&semaphore->changed);
    g_clear_pointer(&semaphore->given_up, g_array_unref);
}

/* Serves the next ticket whose holder still waits. The mutex is held. */
static void serve_next(Semaphore *semaphore)
{
    gboolean skipped;

    semaphore->now_serving++;
    do {
        skipped = FALSE;
        for (guint i = 0; i < semaphore->given_up->len && !skipped; i++)
            if (g_array_index(semaphore->given_up, guint64, i) == semaphore->now_serving) {
                g_array_remove_index_fast(semaphore->given_up, i);
                semaphore->now_serving++;
                skipped = TRUE;
            }
    } while (skipped);
    g_cond_broadcast(&semaphore->changed);
}

gboolean semaphore_acquire(Semaphore *semaphore, const Deadline *deadline, const char *doing, GError **error)
{
    gboolean taken = TRUE;
    guint64 ticket;

    g_mutex_lock(&semaphore->lock);
    ticket = semaphore->next_ticket++;
    while (taken && (semaphore->free == 0 || semaphore->now_serving != ticket))
        taken = deadline_cond_wait(deadline, &semaphore->changed, &semaphore->lock, doing, error);
    if (taken) {
        semaphore->free--;
        serve_next(semaphore);
    } else if (semaphore->now_serving == ticket) {
        serve_next(semaphore);
    } else {
        g_array_append_val(semaphore->given_up, ticket);
    }
    g_mutex_unlock(&semaphore->lock);
    return taken;
}

/* The mutex is held. */
static gboolean is_idle(const Semaphore *semaphore)
{
    return semaphore->free == semaphore->count && semaphore->next_ticket == semaphore->now_serving;
}

gboolean semaphore_acquire_idle(Semaphore *semaphore, gint64 patience_ms, const Deadline *deadline,
                                const char *doing, GError **error)
{
    Deadline patience = deadline_sooner(deadline, patience_ms);
    gboolean waiting = TRUE;
    gboolean idle;

    g_mutex_lock(&semaphore->lock);
    while (!(idle = is_idle(semaphore)) && waiting)
        waiting = deadline_cond_wait(&patience, &semaphore->changed, &semaphore->lock, doing, NULL);
    if (idle) {
        semaphore->next_ticket++;
        semaphore->free--;
        serve_next(semaphore);
    }
    g_mutex_unlock(&semaphore->lock);
    return idle ||
           (deadline_check(deadline, doing, error) && semaphore_acquire(semaphore, deadline, doing, error));
}

void semaphore_release(Semaphore *semaphore)
{
    g_mutex_lock(&semaphore->lock);
    semaphore->free++;
    g_cond_broadcast(&semaphore->changed);
    g_mutex_unlock(&semaphore->lock);
}
