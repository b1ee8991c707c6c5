/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by all streaming connections: one thread for the clients' sockets, a pool of threads that start
 * processes, and the list of clients that are being served. */
#pragma once

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
    GThreadPool *starters; /* work that waits for a guest */
} StreamLoop;

typedef void (*StreamFunc)(gpointer data);

/* Threads: the loop's. */
void stream_loop_join(StreamLoop *loop, StreamUser *user);
void stream_loop_leave(StreamLoop *loop, StreamUser *user);

/* Runs function on the loop's thread, in the order of posting. Any thread. */
void stream_loop_post(StreamLoop *loop, StreamFunc function, gpointer data);
/* Runs function once on the loop's thread after that time; to cancel it, g_source_destroy() and unref it. */
GSource *stream_loop_after(StreamLoop *loop, gint64 delay_ms, StreamFunc function, gpointer data);
/* Runs function on a thread that may block. */
void stream_loop_start(StreamLoop *loop, StreamFunc function, gpointer data);
/* The function of the pool. */
void stream_loop_run_job(gpointer job, gpointer unused);
