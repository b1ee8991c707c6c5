#include "cri-server/lane.h"

struct Lane {
    const char *name;
    GThreadPool *pool;
    LaneFunc func;
    gint capacity;
    gint jobs; /* waiting or running; atomic */
};

static void run_job(gpointer job, gpointer data)
{
    Lane *lane = data;

    lane->func(job);
    g_atomic_int_add(&lane->jobs, -1);
}

Lane *lane_new(const char *name, LaneSize size, LaneFunc func)
{
    Lane *lane = g_new0(Lane, 1);

    lane->name = name;
    lane->func = func;
    lane->capacity = (gint)MIN((guint64)size.workers + size.waiting, (guint64)G_MAXINT);
    /* Fails only for an exclusive pool, whose threads would have to start now. */
    lane->pool = g_thread_pool_new(run_job, lane, (gint)size.workers, FALSE, NULL);
    return lane;
}

void lane_free(Lane *lane)
{
    if (lane == NULL)
        return;
    g_thread_pool_free(lane->pool, FALSE, TRUE);
    g_free(lane);
}

gboolean lane_push(Lane *lane, gpointer job)
{
    if (g_atomic_int_add(&lane->jobs, 1) >= lane->capacity) {
        g_atomic_int_add(&lane->jobs, -1);
        return FALSE;
    }
    /* An error means that no further thread could start now; the job is queued all the same. */
    g_thread_pool_push(lane->pool, job, NULL);
    return TRUE;
}

const char *lane_name(const Lane *lane)
{
    return lane->name;
}
