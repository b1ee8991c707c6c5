/* SPDX-License-Identifier: Apache-2.0 */
/* Finds out whether the parts of the daemon still move: its event loops, and the workers that answer calls.
 *
 * A thread asks each part for a beat every few seconds, and the part answers on its own thread. A part that
 * has not answered for many rounds hangs. While all parts answer, the thread feeds the watchdog of systemd
 * (sd_watchdog_enabled(3)); while one hangs it does not, so that systemd ends the daemon and starts another
 * one, which takes over the pods. /healthz, /readyz and the health service of gRPC report the same.
 *
 * Ownership: health_free() is called after every part has ended, because a part may answer until then.
 * Threads: any.
 */
#pragma once

#include "common/deadline.h"

typedef struct Health Health;
typedef struct HealthPart HealthPart;

/* Asks the part behind data to call health_beat(part) on its own thread. Must not block. */
typedef void (*HealthAsk)(gpointer data, HealthPart *part);

Health *health_new(void);
void health_free(Health *health); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Health, health_free)

/* Before health_start(). name: of the thread or worker pool, in messages; borrowed. free_data may be NULL. */
void health_add(Health *health, const char *name, HealthAsk ask, gpointer data, GDestroyNotify free_data);
/* The function that a part calls; HealthPart, as a callback of any kind takes it. */
void health_beat(gpointer part);

/* The daemon serves from now on, and is watched. */
void health_start(Health *health);
/* The daemon is stopping. Returns when no part is asked any more. */
void health_stop(Health *health);

/* Return: what hangs, as "agents, streams", which the caller frees; NULL: nothing does. */
char *health_problem(Health *health);
/* Return: why no call should be sent to the daemon: what hangs, or that it starts or stops; the caller frees
 * it. NULL: it serves. */
char *health_unready(Health *health);
/* Waits until the daemon serves, or does not, unlike was_ready. Return: FALSE at the deadline, when its
 * cancellable fires, and when the daemon stops while was_ready is FALSE. */
gboolean health_wait_change(Health *health, gboolean was_ready, const Deadline *deadline);
