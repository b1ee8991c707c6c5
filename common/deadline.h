/* SPDX-License-Identifier: Apache-2.0 */
/* How long a caller waits, and whether it still wants the answer.
 *
 * Passed down by pointer from the RPC that started the work; never stored beyond the call. NULL means "no
 * limit".
 */
#pragma once

#include <gio/gio.h>

typedef struct {
    gint64 at_us;              /* g_get_monotonic_time() scale; G_MAXINT64: none */
    GCancellable *cancellable; /* borrowed; NULL: cannot be cancelled */
} Deadline;

/* A deadline that many milliseconds from now, without a cancellable. */
Deadline deadline_in_ms(gint64 timeout_ms);

/* The earlier of the caller's deadline (NULL: none) and timeout_ms from now; keeps the caller's cancellable.
 */
Deadline deadline_sooner(const Deadline *caller, gint64 timeout_ms);

/* Milliseconds left, at least 0; G_MAXINT when there is no limit. Fit for poll(). */
int deadline_left_ms(const Deadline *deadline);

/* Return: FALSE with DEADLINE_EXCEEDED or CANCELLED when the caller no longer waits; the message has what was
 * done meanwhile ("waiting for the agent"). */
gboolean deadline_check(const Deadline *deadline, const char *doing, GError **error);

/* Waits on a condition for one wake-up, at most until the deadline; a cancellable is checked every 100 ms.
 * The caller holds lock and checks in a loop whether the event has come. Return: FALSE as deadline_check().
 */
gboolean deadline_cond_wait(const Deadline *deadline, GCond *cond, GMutex *lock, const char *doing,
                            GError **error);
