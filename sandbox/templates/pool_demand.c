/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/templates/pool_demand.h"

static const gint64 WINDOW_US = 30 * G_TIME_SPAN_SECOND; /* about what many VMs take to be replaced */
static const gint64 KEEP_US = 20 * G_TIME_SPAN_MINUTE; /* longer than the 15 minutes of many periodic jobs */

void pool_demand_init(PoolDemand *demand, guint least, guint most)
{
    g_assert(least <= most && most <= POOL_DEMAND_MAX);
    *demand = (PoolDemand){.least = least, .most = most, .wanted = least};
}

/* Return: how many pods were started in the window that ends now. */
static guint pool_demand_recent(const PoolDemand *demand, gint64 now_us)
{
    const guint known = (guint)MIN(demand->n_starts, POOL_DEMAND_MAX);
    guint recent = 0;

    while (recent < known &&
           demand->starts_us[(demand->n_starts - 1 - recent) % POOL_DEMAND_MAX] > now_us - WINDOW_US)
        recent++;
    return recent;
}

void pool_demand_expect(PoolDemand *demand, guint n, gint64 now_us)
{
    n = MIN(n, demand->most);
    if (n >= pool_demand_wanted(demand, now_us)) {
        demand->wanted = n;
        demand->wanted_at_us = now_us;
    }
}

void pool_demand_note_start(PoolDemand *demand, gint64 now_us)
{
    demand->starts_us[demand->n_starts % POOL_DEMAND_MAX] = now_us;
    demand->n_starts++;
    pool_demand_expect(demand, pool_demand_recent(demand, now_us), now_us);
}

void pool_demand_forget(PoolDemand *demand)
{
    demand->wanted = demand->least;
    demand->n_starts = 0;
}

guint pool_demand_wanted(PoolDemand *demand, gint64 now_us)
{
    while (pool_demand_shrinks_at_us(demand) <= now_us) {
        demand->wanted = MAX(demand->wanted / 2, demand->least);
        demand->wanted_at_us += KEEP_US;
    }
    return demand->wanted;
}

gint64 pool_demand_shrinks_at_us(const PoolDemand *demand)
{
    return demand->wanted > demand->least ? demand->wanted_at_us + KEEP_US : G_MAXINT64;
}
