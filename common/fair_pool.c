/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fair_pool.h"

#include "common/string_table.h"

/* Exists while a job of the key runs. */
typedef struct {
    char *name;
    guint running;
    GQueue waiting; /* jobs */
} Key;

typedef struct {
    Key *key;
    gpointer job;
} Task;

struct FairPool {
    FairPoolFunc func;
    guint per_key;
    GThreadPool *threads;

    GMutex lock;
    GHashTable *keys; /* name → Key */
    gboolean closing;
};

static void key_free(gpointer data)
{
    Key *key = data;

    g_queue_clear(&key->waiting);
    g_free(key->name);
    g_free(key);
}

/* Return: the key's next job, in the place of one that has ended; NULL: there is none. */
static gpointer next_job_locked(FairPool *pool, Key *key)
{
    gpointer job = g_queue_pop_head(&key->waiting);

    if (job == NULL && --key->running == 0)
        g_hash_table_remove(pool->keys, key->name);
    return job;
}

static void push_task(FairPool *pool, Key *key, gpointer job)
{
    Task *task = g_new(Task, 1);

    *task = (Task){key, job};
    g_thread_pool_push(pool->threads, task, NULL);
}

/* The key's next job goes behind those of other keys, unless the pool takes no more. */
static void run_task(gpointer data, gpointer user_data)
{
    FairPool *pool = user_data;
    Task task = *(Task *)data;

    g_free(data);
    while (task.job != NULL) {
        pool->func(task.job);
        g_mutex_lock(&pool->lock);
        task.job = next_job_locked(pool, task.key);
        if (task.job != NULL && !pool->closing) {
            push_task(pool, task.key, task.job);
            task.job = NULL;
        }
        g_mutex_unlock(&pool->lock);
    }
}

FairPool *fair_pool_new(guint workers, guint per_key, FairPoolFunc func)
{
    FairPool *pool = g_new0(FairPool, 1);

    pool->func = func;
    pool->per_key = per_key;
    g_mutex_init(&pool->lock);
    pool->keys = string_table_new(NULL, key_free);
    pool->threads = g_thread_pool_new(run_task, pool, (gint)workers, FALSE, NULL);
    return pool;
}

void fair_pool_free(FairPool *pool)
{
    if (pool == NULL)
        return;
    g_mutex_lock(&pool->lock);
    pool->closing = TRUE;
    g_mutex_unlock(&pool->lock);
    g_thread_pool_free(pool->threads, FALSE, TRUE);
    g_hash_table_unref(pool->keys);
    g_mutex_clear(&pool->lock);
    g_free(pool);
}

void fair_pool_push(FairPool *pool, const char *key, gpointer job)
{
    Key *found;

    g_mutex_lock(&pool->lock);
    found = g_hash_table_lookup(pool->keys, key);
    if (found == NULL) {
        found = g_new0(Key, 1);
        found->name = g_strdup(key);
        g_hash_table_insert(pool->keys, found->name, found);
    }
    if (found->running < pool->per_key) {
        found->running++;
        push_task(pool, found, job);
    } else {
        g_queue_push_tail(&found->waiting, job);
    }
    g_mutex_unlock(&pool->lock);
}
