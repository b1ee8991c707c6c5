/* SPDX-License-Identifier: Apache-2.0 */
/* A worker pool: threads and a bounded queue for one kind of work, so that slow work never delays fast work.
 *
 * GLib starts threads when jobs arrive and ends them when they have been idle for a while, so a pool of 64
 * workers costs nothing while no client calls.
 *
 * Threads: every function may be called from any thread.
 */
#pragma once

#include <glib.h>

typedef struct WorkerPool WorkerPool;
typedef void (*WorkerFunc)(gpointer job);

typedef struct {
    guint workers; /* at least 1 */
    guint waiting; /* jobs that may wait for a worker */
} WorkerPoolSize;

/* Makes a pool whose workers call func for each job. The name is borrowed and must outlive the pool. */
WorkerPool *worker_pool_new(const char *name, WorkerPoolSize size, WorkerFunc func);
/* Runs the jobs that wait, ends the threads and frees the pool; takes NULL. No other thread may be in
 * worker_pool_push(). */
void worker_pool_free(WorkerPool *pool);

/* Return: FALSE when all workers are busy and the queue is full; the job then remains the caller's. */
gboolean worker_pool_push(WorkerPool *pool, gpointer job);
const char *worker_pool_name(const WorkerPool *pool);

/* Return: whether every worker has a job. */
gboolean worker_pool_is_busy(WorkerPool *pool);
/* Runs function(data) on a worker after the jobs that wait, also when the queue is full. One probe at a time:
 * the next one after the function was called. */
void worker_pool_probe(WorkerPool *pool, WorkerFunc function, gpointer data);
/* Return: the jobs that wait or run. */
guint worker_pool_jobs(WorkerPool *pool);
