/* SPDX-License-Identifier: Apache-2.0 */
#include "common/loop_thread.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/syscall.h>
#include <unistd.h>

struct LoopThread {
    GMainContext *context;
    GMainLoop *loop;
    GThread *thread;
};

static gpointer loop_run(gpointer data)
{
    LoopThread *loop = data;

    g_main_context_push_thread_default(loop->context);
    g_main_loop_run(loop->loop);
    g_main_context_pop_thread_default(loop->context);
    return NULL;
}

LoopThread *loop_thread_new(const char *name)
{
    LoopThread *loop = g_new0(LoopThread, 1);

    loop->context = g_main_context_new();
    loop->loop = g_main_loop_new(loop->context, FALSE);
    loop->thread = g_thread_new(name, loop_run, loop);
    return loop;
}

GSource *loop_thread_add(LoopThread *loop, GSource *source, GSourceFunc function, gpointer data)
{
    g_source_set_callback(source, function, data, NULL);
    g_source_attach(source, loop->context);
    return source;
}

static gboolean loop_quit(gpointer data)
{
    g_main_loop_quit(((LoopThread *)data)->loop);
    return G_SOURCE_REMOVE;
}

void loop_thread_free(LoopThread *loop)
{
    if (loop == NULL)
        return;
    /* By way of the loop itself: a loop that has not begun to run yet would not notice g_main_loop_quit(). */
    g_source_unref(loop_thread_add(loop, g_idle_source_new(), loop_quit, loop));
    g_thread_join(loop->thread);
    g_main_loop_unref(loop->loop);
    g_main_context_unref(loop->context);
    g_free(loop);
}

typedef struct {
    void (*function)(gpointer data);
    gpointer data;
} LaterCall;

static gboolean later_run(gpointer data)
{
    LaterCall *later = data;

    later->function(later->data);
    return G_SOURCE_REMOVE;
}

void loop_thread_after(LoopThread *loop, guint delay_ms, void (*function)(gpointer data), gpointer data)
{
    GSource *source = delay_ms == 0 ? g_idle_source_new() : g_timeout_source_new(delay_ms);
    LaterCall *later = g_new(LaterCall, 1);

    *later = (LaterCall){function, data};
    g_source_set_callback(source, later_run, later, g_free);
    g_source_attach(source, loop->context);
    g_source_unref(source);
}

typedef struct {
    void (*function)(gpointer data);
    gpointer data;
    GMutex lock;
    GCond changed;
    gboolean done;
} WaitingCall;

static void waiting_run(gpointer data)
{
    WaitingCall *call = data;

    call->function(call->data);
    g_mutex_lock(&call->lock);
    call->done = TRUE;
    g_cond_signal(&call->changed);
    g_mutex_unlock(&call->lock);
}

void loop_thread_call(LoopThread *loop, void (*function)(gpointer data), gpointer data)
{
    WaitingCall call = {.function = function, .data = data};

    g_mutex_init(&call.lock);
    g_cond_init(&call.changed);
    loop_thread_after(loop, 0, waiting_run, &call);
    g_mutex_lock(&call.lock);
    while (!call.done)
        g_cond_wait(&call.changed, &call.lock);
    g_mutex_unlock(&call.lock);
    g_mutex_clear(&call.lock);
    g_cond_clear(&call.changed);
}

typedef struct {
    void (*function)(gpointer data);
    gpointer data;
    GDestroyNotify destroy;
    int fd;
} ProcessWatch;

static gboolean on_process_end(gint fd, GIOCondition condition, gpointer data)
{
    ProcessWatch *watch = data;

    (void)fd, (void)condition;
    watch->function(watch->data);
    return G_SOURCE_REMOVE;
}

static void process_watch_free(gpointer data)
{
    ProcessWatch *watch = data;

    close(watch->fd);
    watch->destroy(watch->data);
    g_free(watch);
}

gboolean loop_thread_watch_process(LoopThread *loop, pid_t pid, void (*function)(gpointer data),
                                   gpointer data, GDestroyNotify destroy)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    ProcessWatch *watch;
    GSource *source;

    if (fd < 0) {
        int problem = errno;

        destroy(data);
        errno = problem;
        return FALSE;
    }
    watch = g_new(ProcessWatch, 1);
    *watch = (ProcessWatch){function, data, destroy, fd};
    source = g_unix_fd_source_new(fd, G_IO_IN);
    g_source_set_callback(source, (GSourceFunc)(void (*)(void))on_process_end, watch, process_watch_free);
    g_source_attach(source, loop->context);
    g_source_unref(source);
    return TRUE;
}
