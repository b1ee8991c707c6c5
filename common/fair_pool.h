/* SPDX-License-Identifier: Apache-2.0 */
/* A thread pool whose jobs have keys: at most a number of jobs with the same key run at once, and the others
 * wait in their order without a thread. So jobs of one key that take for ever do not hold all threads.
 *
 * Threads: any; fair_pool_free() from none of the pool's own.
 */
#pragma once

#include <glib.h>

typedef struct FairPool FairPool;
typedef void (*FairPoolFunc)(gpointer job);

/* workers: threads, which start when there are jobs. per_key: jobs of one key that run at once. */
FairPool *fair_pool_new(guint workers, guint per_key, FairPoolFunc func);
/* Runs the jobs that wait, ends the threads and frees the pool. Nothing may be pushed any more. Takes NULL.
 */
void fair_pool_free(FairPool *pool);

/* Runs func(job) on a thread of the pool. */
void fair_pool_push(FairPool *pool, const char *key, gpointer job);
