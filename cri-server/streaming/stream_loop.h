/* SPDX-License-Identifier: Apache-2.0 */
/* What all streaming connections share: one thread for the clients' sockets, a pool of threads that start
 * processes, and the list of clients that are being served. */
#pragma once

#include "common/fair_pool.h"
#include "cri-server/streaming/peer.h"
#include "sandbox/pods/stream_session.h"
#include "sandbox/sandbox.h"

/* One client's request; lives on the loop's thread. */
typedef struct StreamUser {
    void (*stop)(struct StreamUser *user,
                 const char *why);         /* ends the request gracefully, with a message for the client */
    void (*drop)(struct StreamUser *user); /* ends the request at once */
} StreamUser;

typedef struct {
    SandboxManager *sandboxes;
    gint64 creation_ms; /* time for a client to open its streams */
    GMainContext *context;
    GHashTable *users; /* used on the loop's thread only */
    gint n_users;
    FairPool *starters; /* for work that waits for a guest; its keys are ids of sandboxes */
} StreamLoop;

typedef void (*StreamFunc)(gpointer data);

/* Add and remove a client that is being served. Threads: the loop's. */
void stream_loop_join(StreamLoop *loop, StreamUser *user);
void stream_loop_leave(StreamLoop *loop, StreamUser *user);

/* Runs function on the loop's thread, in the order of posting. Threads: any. */
void stream_loop_post(StreamLoop *loop, StreamFunc function, gpointer data);
/* Runs function once on the loop's thread after that time. Return: the source, which the caller frees;
 * destroy it first to cancel the call. Threads: any. */
GSource *stream_loop_after(StreamLoop *loop, gint64 delay_ms, StreamFunc function, gpointer data);
/* Runs function on a thread of the pool, where it may block. It waits its turn when many starts of that
 * sandbox are under way. Threads: any. */
void stream_loop_start(StreamLoop *loop, const char *sandbox_id, StreamFunc function, gpointer data);
/* The function of the pool `starters`. */
void stream_loop_run_job(gpointer job);
