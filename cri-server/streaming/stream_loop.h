/* What all streaming connections share: one thread for the clients' sockets, a few that start processes, and
 * the list of who is being served.
 */
#pragma once

#include "cri-server/streaming/peer.h"
#include "sandbox/pods/stream_session.h"
#include "sandbox/sandbox.h"

/* One client's business; lives on the loop's thread. */
typedef struct StreamUser {
    void (*stop)(struct StreamUser *user, const char *why); /* tells the client why, and says goodbye */
    void (*drop)(struct StreamUser *user);                  /* without a word */
} StreamUser;

typedef struct {
    SandboxManager *sandboxes;
    gint64 creation_ms; /* for a client to open its streams */
    GMainContext *context;
    GHashTable *users; /* the loop's thread only */
    gint n_users;
    GThreadPool *starters; /* what waits for a guest */
} StreamLoop;

typedef void (*StreamFunc)(gpointer data);

/* On the loop's thread. */
void stream_loop_join(StreamLoop *loop, StreamUser *user);
void stream_loop_leave(StreamLoop *loop, StreamUser *user);

/* Runs function on the loop's thread, in the order of posting. Any thread. */
void stream_loop_post(StreamLoop *loop, StreamFunc function, gpointer data);
/* On the loop's thread, once, in so many milliseconds; g_source_destroy() and unref it. */
GSource *stream_loop_after(StreamLoop *loop, gint64 delay_ms, StreamFunc function, gpointer data);
/* On a thread that may wait. */
void stream_loop_start(StreamLoop *loop, StreamFunc function, gpointer data);
/* The pool's function. */
void stream_loop_run_job(gpointer job, gpointer unused);
