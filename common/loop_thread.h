/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that runs a GMainContext of its own. What is added to it runs on that thread and must not block.
 *
 * Threads: every function may be called from any thread, loop_thread_free() from any but the loop's own.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct LoopThread LoopThread;

/* name: of the thread, at most 15 bytes, as debuggers show it. Return: the caller's, for loop_thread_free().
 */
LoopThread *loop_thread_new(const char *name);
/* Ends the thread. Sources that are left are dropped without being called. Takes NULL. */
void loop_thread_free(LoopThread *loop);

/* Lets function(data) handle the source on the loop's thread. Return: source, still the caller's reference.
 */
GSource *loop_thread_add(LoopThread *loop, GSource *source, GSourceFunc function, gpointer data);

/* Runs function(data) once on the loop's thread after delay_ms. */
void loop_thread_after(LoopThread *loop, guint delay_ms, void (*function)(gpointer data), gpointer data);

/* The same at once, and waits until it has run. Not on the loop's own thread. */
void loop_thread_call(LoopThread *loop, void (*function)(gpointer data), gpointer data);

/* Runs function(data) on the loop's thread once the process has ended, whoever its parent is. destroy(data)
 * is called after it, or when the loop is freed before. Return: FALSE with errno set, and destroy(data)
 * called, when the process is gone already or the kernel refuses. */
gboolean loop_thread_watch_process(LoopThread *loop, pid_t pid, void (*function)(gpointer data),
                                   gpointer data, GDestroyNotify destroy);
