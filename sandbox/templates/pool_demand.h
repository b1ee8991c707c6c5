/* SPDX-License-Identifier: Apache-2.0 */
/* How many VMs the pool is to have: as many as pods were started within half a minute, or were expected. That
 * is kept for twenty minutes, and halved each time that such a period passes without as many starts.
 *
 * Times are microseconds of the monotonic clock, and never go back. Not thread-safe: the pool's lock protects
 * it.
 */
#pragma once

#include <glib.h>

enum {
    POOL_DEMAND_MAX = 64, /* VMs; the largest values of guest.vm_pool_size and vm_pool_max_size */
};

typedef struct PoolDemand {
    guint least; /* VMs, also without any demand */
    guint most;
    guint wanted;
    gint64 wanted_at_us;               /* when so many pods were last started */
    gint64 starts_us[POOL_DEMAND_MAX]; /* when the last pods were started: a ring */
    guint64 n_starts;                  /* since the demand was last forgotten */
} PoolDemand;

/* most: at least `least`, at most POOL_DEMAND_MAX. */
void pool_demand_init(PoolDemand *demand, guint least, guint most);
/* n pods are expected to be started at once: as if they had been started now. */
void pool_demand_expect(PoolDemand *demand, guint n, gint64 now_us);
/* A pod was started that could use a VM of the pool, whether there was one or not. */
void pool_demand_note_start(PoolDemand *demand, gint64 now_us);
/* Back to `least`, until as many pods are started again. */
void pool_demand_forget(PoolDemand *demand);
/* Return: the number of VMs, from `least` to `most`. */
guint pool_demand_wanted(PoolDemand *demand, gint64 now_us);
/* Return: when the number shrinks if no pod is started; G_MAXINT64: it does not. */
gint64 pool_demand_shrinks_at_us(const PoolDemand *demand);
