/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: file descriptors, timers and child processes. The agent has one thread, so nothing is
 * locked.
 *
 * The loop takes one event at a time, so a callback may remove or free any watch, its own included. Watch,
 * Timer and Child are parts of their owner's structure; a zeroed one is inactive.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct {
    int fd;
    void (*call)(void *data);
    void *data;
    bool active;
} Watch;

/* events: EPOLLIN, EPOLLOUT, EPOLLET. Adding an active watch changes its events; removing an inactive one is
 * no error. epoll reports EPOLLHUP whatever the events are; only watch_remove() stops that. */
bool watch_add(Watch *watch, uint32_t events);
void watch_remove(Watch *watch);

typedef struct Timer {
    struct Timer *next;
    int64_t at_ns;
    void (*call)(void *data);
    void *data;
    bool active;
} Timer;

void timer_start(Timer *timer, int64_t delay_ms); /* an active timer is moved */
void timer_stop(Timer *timer);

int64_t clock_monotonic_ns(void);
int64_t clock_wall_ns(void);

/* A process of which the agent is the parent, or becomes it when crun ends. */
typedef struct Child {
    struct Child *next;
    pid_t pid;
    void (*call)(void *data, int wait_status); /* called once, from the loop */
    void *data;
    int status;
    Timer late; /* runs when the process had been reaped before child_watch() */
    bool active;
} Child;

void child_watch(Child *child);
void child_forget(Child *child);
/* While held, the loop remembers the ends of children that are not watched: crun's children become the
 * agent's when crun ends, before the agent has read their pids. */
void child_hold(void);
void child_release(void);

/* Blocks SIGCHLD and makes the loop's own descriptors. Return: false when that failed. */
bool loop_init(void);
/* Runs for ever; after_event is called after each callback, before the loop waits. */
void loop_run(void (*after_event)(void)) __attribute__((noreturn));
