/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/health.h"

#include "common/log.h"
#include "common/metrics.h"
#include "cri-server/notify.h"

enum {
    INTERVAL_MS = 5000,
    /* A part hangs when it has not answered for so many rounds. Rounds are counted instead of time, so that a
     * daemon which was stopped as a whole (SIGSTOP, a suspended node) does not take its parts to hang. */
    HANG_ROUNDS = 6,
};

struct HealthPart {
    Health *health;
    const char *name;
    HealthAsk ask;
    gpointer data;
    GDestroyNotify free_data;
    guint rounds; /* since it was asked; 0: it has answered; protected by lock */
};

struct Health {
    GPtrArray *parts; /* constant from health_start() on */
    gint64 interval_us;
    gboolean is_watched; /* systemd's watchdog is on */
    GThread *thread;

    GMutex lock;
    GCond changed;
    gboolean serving;
    gboolean stopping;
    char *hanging; /* names; NULL: none */
};

static void part_free(gpointer data)
{
    HealthPart *part = data;

    if (part->free_data != NULL)
        part->free_data(part->data);
    g_free(part);
}

Health *health_new(void)
{
    Health *health = g_new0(Health, 1);

    health->parts = g_ptr_array_new_with_free_func(part_free);
    g_mutex_init(&health->lock);
    g_cond_init(&health->changed);
    return health;
}

void health_free(Health *health)
{
    if (health == NULL)
        return;
    g_ptr_array_unref(health->parts);
    g_mutex_clear(&health->lock);
    g_cond_clear(&health->changed);
    g_free(health->hanging);
    g_free(health);
}

void health_add(Health *health, const char *name, HealthAsk ask, gpointer data, GDestroyNotify free_data)
{
    HealthPart *part = g_new0(HealthPart, 1);

    *part = (HealthPart){health, name, ask, data, free_data, 0};
    g_ptr_array_add(health->parts, part);
}

void health_beat(gpointer data)
{
    HealthPart *part = data;

    g_mutex_lock(&part->health->lock);
    part->rounds = 0;
    g_mutex_unlock(&part->health->lock);
}

/* ---- rounds ---- */

/* Return: whether the part is to be asked. */
static gboolean part_begin_round(HealthPart *part)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&part->health->lock);

    return part->rounds++ == 0;
}

static void health_ask(Health *health)
{
    for (guint i = 0; i < health->parts->len; i++) {
        HealthPart *part = health->parts->pdata[i];

        if (part_begin_round(part))
            part->ask(part->data, part); /* without the lock: it may answer at once */
    }
}

static char *hanging_names_locked(Health *health)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (guint i = 0; i < health->parts->len; i++) {
        const HealthPart *part = health->parts->pdata[i];

        if (part->rounds > HANG_ROUNDS)
            g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "", part->name);
    }
    return names->len > 0 ? g_string_free(g_steal_pointer(&names), FALSE) : NULL;
}

static Metric hangs = METRIC_COUNTER("crivirt_hangs_total", "Times that parts of the daemon hung.", NULL);

/* Return: whether all parts move. */
static gboolean health_judge(Health *health)
{
    g_autofree char *before = NULL;
    g_autofree char *now = NULL;

    g_mutex_lock(&health->lock);
    before = health->hanging;
    health->hanging = hanging_names_locked(health);
    now = g_strdup(health->hanging);
    if ((before == NULL) != (now == NULL))
        g_cond_broadcast(&health->changed);
    g_mutex_unlock(&health->lock);
    if (now != NULL && g_strcmp0(before, now) != 0) {
        metric_add(&hangs, 1, NULL, NULL);
        log_error(LOG_FIELDS("hanging", now), "parts of the daemon hang: %s%s", now,
                  health->is_watched ? "; the watchdog is not fed any more" : "");
    } else if (now == NULL && before != NULL) {
        log_warning(LOG_NO_FIELDS, "the parts of the daemon that hung have moved on: %s", before);
    }
    return now == NULL;
}

/* Return: FALSE when the daemon is stopping. */
static gboolean health_pause(Health *health)
{
    const gint64 until_us = g_get_monotonic_time() + health->interval_us;
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&health->lock);

    while (!health->stopping && g_cond_wait_until(&health->changed, &health->lock, until_us))
        continue;
    return !health->stopping;
}

static gpointer health_thread(gpointer data)
{
    Health *health = data;

    do {
        health_ask(health);
        if (health_judge(health) && health->is_watched)
            notify_manager("WATCHDOG=1");
    } while (health_pause(health));
    return NULL;
}

/* ---- the life of the daemon ---- */

/* Several rounds must pass before systemd's patience ends, and they all feed it: a watchdog that is as short
 * as in tests makes the rounds shorter. */
static void watchdog_find(Health *health)
{
    enum { ROUNDS_PER_WATCHDOG = 12 };
    const char *text = g_getenv("WATCHDOG_USEC");
    guint64 limit_us = 0;

    health->interval_us = (gint64)INTERVAL_MS * 1000;
    health->is_watched = text != NULL && g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT64, &limit_us, NULL);
    if (health->is_watched)
        health->interval_us = MIN(health->interval_us, (gint64)MAX(limit_us / ROUNDS_PER_WATCHDOG, 1000));
}

void health_start(Health *health)
{
    watchdog_find(health);
    g_mutex_lock(&health->lock);
    health->serving = TRUE;
    g_cond_broadcast(&health->changed);
    g_mutex_unlock(&health->lock);
    health->thread = g_thread_new("health", health_thread, health);
}

void health_stop(Health *health)
{
    g_mutex_lock(&health->lock);
    health->stopping = TRUE;
    g_cond_broadcast(&health->changed);
    g_mutex_unlock(&health->lock);
    g_clear_pointer(&health->thread, g_thread_join);
}

/* ---- answers ---- */

char *health_problem(Health *health)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&health->lock);

    return g_strdup(health->hanging);
}

static gboolean is_ready_locked(const Health *health)
{
    return health->serving && !health->stopping && health->hanging == NULL;
}

char *health_unready(Health *health)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&health->lock);

    if (is_ready_locked(health))
        return NULL;
    if (health->hanging != NULL)
        return g_strdup_printf("these parts hang: %s", health->hanging);
    return g_strdup(health->stopping ? "crivirtd is stopping" : "crivirtd is starting");
}

gboolean health_wait_change(Health *health, gboolean was_ready, const Deadline *deadline)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&health->lock);

    while (is_ready_locked(health) == was_ready && !health->stopping)
        if (!deadline_cond_wait(deadline, &health->changed, &health->lock, "watching the daemon", NULL))
            return FALSE;
    return is_ready_locked(health) != was_ready;
}
