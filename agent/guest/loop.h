/* The event loop: file descriptors, timers, and children. One thread, so nothing here is locked.
 *
 * One event is taken at a time, so a callback may remove or free any watch, its own included. Watch, Timer
 * and Child live inside their owner's structure; zeroed, they are inactive.
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
 * no error. EPOLLHUP comes whatever was asked for: who does not want to hear of a descriptor removes it. */
bool watch_add(Watch *watch, uint32_t events);
void watch_remove(Watch *watch);

typedef struct Timer {
    struct Timer *next;
    int64_t at_ns;
    void (*call)(void *data);
    void *data;
    bool active;
} Timer;

void timer_start(Timer *timer, int64_t delay_ms); /* again: moves it */
void timer_stop(Timer *timer);

int64_t clock_monotonic_ns(void);
int64_t clock_wall_ns(void);

/* A process of which we are, or are about to become, the parent. */
typedef struct Child {
    struct Child *next;
    pid_t pid;
    void (*call)(void *data, int wait_status); /* once, from the loop */
    void *data;
    int status;
    Timer late; /* the process had been reaped when the watch was made */
    bool active;
} Child;

void child_watch(Child *child);
void child_forget(Child *child);
/* While held, the ends of children that nobody watches are remembered: crun's children become ours when it
 * ends, before we could read their pids. */
void child_hold(void);
void child_release(void);

/* Blocks SIGCHLD and makes the loop's own descriptors. */
bool loop_init(void);
/* Runs for ever; after_event is called after each callback, before the loop waits. */
void loop_run(void (*after_event)(void)) __attribute__((noreturn));
