/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/guest/fault.h"

enum { REMEMBERED = 128 }; /* ends of unwatched children that are remembered while a job runs */

static struct {
    int epoll_fd;
    Watch signals;
    Timer *timers; /* the next one first */
    Child *children;
    unsigned held;
    unsigned n_ends; /* how many were stored; the newest REMEMBERED are kept */
    struct {
        pid_t pid;
        int status;
    } ends[REMEMBERED];
} loop;

int64_t clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool watch_add(Watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    int op = watch->active ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(loop.epoll_fd, op, watch->fd, &event) < 0)
        return false;
    watch->active = true;
    return true;
}

void watch_remove(Watch *watch)
{
    if (watch->active)
        epoll_ctl(loop.epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->active = false;
}

void timer_start(Timer *timer, int64_t delay_ms)
{
    timer_stop(timer);
    timer->at_ns = clock_monotonic_ns() + delay_ms * 1000000;
    timer->active = true;

    Timer **place = &loop.timers;
    while (*place != NULL && (*place)->at_ns <= timer->at_ns)
        place = &(*place)->next;
    timer->next = *place;
    *place = timer;
}

void timer_stop(Timer *timer)
{
    if (!timer->active)
        return;
    Timer **place = &loop.timers;
    while (*place != timer)
        place = &(*place)->next;
    *place = timer->next;
    timer->active = false;
}

static void child_deliver(Child *child, int status)
{
    child_forget(child);
    child->call(child->data, status);
}

static void child_late(void *data)
{
    Child *child = data;
    child_deliver(child, child->status);
}

static bool loop_take_end(pid_t pid, int *ret_status)
{
    for (unsigned i = 0; i < REMEMBERED; i++) {
        if (loop.ends[i].pid == pid) {
            *ret_status = loop.ends[i].status;
            loop.ends[i].pid = 0;
            return true;
        }
    }
    return false;
}

void child_watch(Child *child)
{
    child->active = true;
    child->next = loop.children;
    loop.children = child;
    if (loop_take_end(child->pid, &child->status)) {
        child->late.call = child_late;
        child->late.data = child;
        timer_start(&child->late, 0);
    }
}

void child_forget(Child *child)
{
    timer_stop(&child->late);
    if (!child->active)
        return;
    Child **place = &loop.children;
    while (*place != child)
        place = &(*place)->next;
    *place = child->next;
    child->active = false;
}

void child_hold(void)
{
    loop.held++;
}

void child_release(void)
{
    if (--loop.held == 0)
        memset(loop.ends, 0, sizeof loop.ends);
}

static void loop_reap_one(pid_t pid, int status)
{
    for (Child *child = loop.children; child != NULL; child = child->next) {
        if (child->pid == pid) {
            child_deliver(child, status);
            return;
        }
    }
    if (loop.held > 0) {
        unsigned slot = loop.n_ends++ % REMEMBERED;
        loop.ends[slot].pid = pid;
        loop.ends[slot].status = status;
    }
}

static void loop_reap(void *data)
{
    struct signalfd_siginfo info;
    while (read(loop.signals.fd, &info, sizeof info) > 0)
        ;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            return;
        loop_reap_one(pid, status);
    }
}

bool loop_init(void)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);

    loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop.signals = (Watch){.fd = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK), .call = loop_reap};
    return loop.epoll_fd >= 0 && loop.signals.fd >= 0 && watch_add(&loop.signals, EPOLLIN);
}

/* Runs the timers that are due. Return: milliseconds until the next timer, -1 when there is none. */
static int loop_run_timers(void (*after_event)(void))
{
    while (loop.timers != NULL) {
        Timer *timer = loop.timers;
        int64_t left_ns = timer->at_ns - clock_monotonic_ns();
        if (left_ns > 0)
            return left_ns > INT64_C(60000000000) ? 60000 : (int)((left_ns + 999999) / 1000000);
        timer_stop(timer);
        timer->call(timer->data);
        after_event();
    }
    return -1;
}

void loop_run(void (*after_event)(void))
{
    for (;;) {
        struct epoll_event event;
        int n = epoll_wait(loop.epoll_fd, &event, 1, loop_run_timers(after_event));
        if (n < 0 && errno != EINTR)
            complain("epoll_wait: %s", strerror(errno));
        if (n != 1)
            continue;
        Watch *watch = event.data.ptr;
        watch->call(watch->data);
        after_event();
    }
}
