/* SPDX-License-Identifier: Apache-2.0 */
/* A counting semaphore that serves callers in order and within their deadlines. With one slot it is a job:
 * the right to change an object over a time in which no lock may be held. */
#pragma once

#include "common/deadline.h"

typedef struct {
    GMutex lock;
    GCond changed;
    guint count;
    guint free;
    guint64 next_ticket; /* of the next caller */
    guint64 now_serving;
    GArray *given_up; /* tickets of callers that left the queue */
} Semaphore;

void semaphore_init(Semaphore *semaphore, guint count);
void semaphore_clear(Semaphore *semaphore);

/* Takes a slot when it is the caller's turn; `doing` is what the caller does with it, for the message.
 * Return: FALSE at the deadline (DEADLINE_EXCEEDED) or when the call is cancelled (CANCELLED). */
gboolean semaphore_acquire(Semaphore *semaphore, const Deadline *deadline, const char *doing, GError **error);
/* Takes a slot when all are free and no caller waits; after patience_ms it waits its turn as
 * semaphore_acquire() does. */
gboolean semaphore_acquire_idle(Semaphore *semaphore, gint64 patience_ms, const Deadline *deadline,
                                const char *doing, GError **error);
void semaphore_release(Semaphore *semaphore);
