/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/stream_loop.h"

typedef struct {
    StreamFunc function;
    gpointer data;
} Job;

static Job *job_new(StreamFunc function, gpointer data)
{
    Job *job = g_new(Job, 1);

    *job = (Job){function, data};
    return job;
}

static gboolean run_posted(gpointer data)
{
    Job *job = data;

    job->function(job->data);
    return G_SOURCE_REMOVE;
}

static GSource *attach_source(StreamLoop *loop, GSource *source, StreamFunc function, gpointer data)
{
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, run_posted, job_new(function, data), g_free);
    g_source_attach(source, loop->context);
    return source;
}

void stream_loop_join(StreamLoop *loop, StreamUser *user)
{
    g_hash_table_add(loop->users, user);
    g_atomic_int_set(&loop->n_users, (gint)g_hash_table_size(loop->users));
}

void stream_loop_leave(StreamLoop *loop, StreamUser *user)
{
    g_hash_table_remove(loop->users, user);
    g_atomic_int_set(&loop->n_users, (gint)g_hash_table_size(loop->users));
}

void stream_loop_post(StreamLoop *loop, StreamFunc function, gpointer data)
{
    g_source_unref(attach_source(loop, g_idle_source_new(), function, data));
}

GSource *stream_loop_after(StreamLoop *loop, gint64 delay_ms, StreamFunc function, gpointer data)
{
    return attach_source(loop, g_timeout_source_new((guint)CLAMP(delay_ms, 0, G_MAXINT)), function, data);
}

void stream_loop_start(StreamLoop *loop, const char *sandbox_id, StreamFunc function, gpointer data)
{
    fair_pool_push(loop->starters, sandbox_id, job_new(function, data));
}

void stream_loop_run_job(gpointer data)
{
    Job *job = data;

    job->function(job->data);
    g_free(job);
}
