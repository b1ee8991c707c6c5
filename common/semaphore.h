/* SPDX-License-Identifier: Apache-2.0 */
/* A counting semaphore that serves in the order of asking and knows deadlines. With one slot it is a job: the
 * right to change an object over a time in which no lock may be held. */
#pragma once

#include "common/deadline.h"

typedef struct {
    GMutex lock;
    GCond changed;
    guint count;
    guint free;
    guint64 next_ticket; /* given to who asks */
    guint64 now_serving;
    GArray *given_up; /* tickets of those who left the queue */
} Semaphore;

void semaphore_init(Semaphore *slots, guint count);
void semaphore_clear(Semaphore *slots);

/* FALSE with DEADLINE_EXCEEDED or CANCELLED, saying what was waited for. */
gboolean semaphore_acquire(Semaphore *slots, const Deadline *deadline, const char *doing, GError **error);
/* Takes one when all are free and nobody waits, or, once patience is over, as semaphore_acquire() does. */
gboolean semaphore_acquire_idle(Semaphore *slots, gint64 patience_ms, const Deadline *deadline,
                                const char *doing, GError **error);
void semaphore_release(Semaphore *slots);
