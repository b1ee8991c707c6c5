/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc/worker_pool.h"

struct WorkerPool {
    const char *name;
    GThreadPool *threads;
    WorkerFunc func;
    gint workers;
    gint capacity;
    gint jobs; /* waiting or running; atomic */
    WorkerFunc probe;
    gpointer probe_data;
};

static void worker_run_job(gpointer job, gpointer data)
{
    WorkerPool *pool = data;

    if (job == pool) {
        pool->probe(pool->probe_data);
        return;
    }
    pool->func(job);
    g_atomic_int_add(&pool->jobs, -1);
}

WorkerPool *worker_pool_new(const char *name, WorkerPoolSize size, WorkerFunc func)
{
    WorkerPool *pool = g_new0(WorkerPool, 1);

    pool->name = name;
    pool->func = func;
    pool->workers = (gint)size.workers;
    pool->capacity = (gint)MIN((guint64)size.workers + size.waiting, (guint64)G_MAXINT);
    /* Fails only for an exclusive pool, whose threads would have to start now. */
    pool->threads = g_thread_pool_new(worker_run_job, pool, (gint)size.workers, FALSE, NULL);
    return pool;
}

void worker_pool_free(WorkerPool *pool)
{
    if (pool == NULL)
        return;
    g_thread_pool_free(pool->threads, FALSE, TRUE);
    g_free(pool);
}

gboolean worker_pool_push(WorkerPool *pool, gpointer job)
{
    if (g_atomic_int_add(&pool->jobs, 1) >= pool->capacity) {
        g_atomic_int_add(&pool->jobs, -1);
        return FALSE;
    }
    /* An error means that no further thread could be started. The job is queued nevertheless. */
    g_thread_pool_push(pool->threads, job, NULL);
    return TRUE;
}

const char *worker_pool_name(const WorkerPool *pool)
{
    return pool->name;
}

gboolean worker_pool_is_busy(WorkerPool *pool)
{
    return g_atomic_int_get(&pool->jobs) >= pool->workers;
}

void worker_pool_probe(WorkerPool *pool, WorkerFunc function, gpointer data)
{
    pool->probe = function;
    pool->probe_data = data;
    g_thread_pool_push(pool->threads, pool, NULL); /* the pool itself stands for the probe */
}

guint worker_pool_jobs(WorkerPool *pool)
{
    return (guint)g_atomic_int_get(&pool->jobs);
}
