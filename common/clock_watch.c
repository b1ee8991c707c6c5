/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock_watch.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/source.h"

/* In the year 2255: the kernel lets no clock be set so far, so that the timer ends only by a step. */
static const time_t NEVER_S = 9000000000;

struct ClockWatch {
    int fd;
    GSource *source;
    gint64 lead_ns; /* of CLOCK_REALTIME over CLOCK_MONOTONIC */
    ClockStepped stepped;
    gpointer data;
};

static gint64 lead_now_ns(void)
{
    return clock_read_ns(CLOCK_REALTIME) - clock_read_ns(CLOCK_MONOTONIC);
}

static gboolean timer_arm(int fd)
{
    const struct itimerspec never = {.it_value.tv_sec = NEVER_S};

    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0;
}

static gboolean on_timer(gint fd, GIOCondition condition, gpointer data)
{
    ClockWatch *watch = data;
    gint64 before_ns = watch->lead_ns;
    guint64 expirations;
    ssize_t got = read(fd, &expirations, sizeof expirations);

    (void)condition;
    if (got < 0 && errno == EAGAIN)
        return G_SOURCE_CONTINUE;
    if (!timer_arm(fd))
        return G_SOURCE_REMOVE;
    /* After the timer is armed again, so that a step after this reading is reported. */
    watch->lead_ns = lead_now_ns();
    watch->stepped(watch->lead_ns - before_ns, watch->data);
    return G_SOURCE_CONTINUE;
}

ClockWatch *clock_watch_new(LoopThread *loop, ClockStepped stepped, gpointer data)
{
    int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    ClockWatch *watch;

    if (fd < 0)
        return NULL;
    if (!timer_arm(fd)) {
        int problem = errno;

        close(fd);
        errno = problem;
        return NULL;
    }
    watch = g_new(ClockWatch, 1);
    *watch = (ClockWatch){.fd = fd, .lead_ns = lead_now_ns(), .stepped = stepped, .data = data};
    watch->source = g_unix_fd_source_new(fd, G_IO_IN);
    loop_thread_add(loop, watch->source, (GSourceFunc)(void (*)(void))on_timer, watch);
    return watch;
}

void clock_watch_free(ClockWatch *watch)
{
    if (watch == NULL)
        return;
    source_drop(&watch->source);
    close(watch->fd);
    g_free(watch);
}
