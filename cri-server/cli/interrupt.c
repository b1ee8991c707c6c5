/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

static gpointer wait_for_signals(gpointer cancellable)
{
    sigset_t signals;
    int number;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    for (;;) {
        if (sigwait(&signals, &number) != 0)
            continue;
        if (g_cancellable_is_cancelled(cancellable))
            _exit(128 + number);
        g_cancellable_cancel(cancellable);
    }
    return NULL;
}

GCancellable *interrupt_start(void)
{
    GCancellable *cancellable = g_cancellable_new();
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals,
              SIGWINCH); /* terminal.c reads this signal from a signalfd, so every thread must block it */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* writers to a closed stdout or socket get an error instead */
    g_thread_unref(g_thread_new("signals", wait_for_signals, cancellable));
    return cancellable;
}

void interrupt_rearm(GCancellable *cancellable)
{
    g_cancellable_reset(cancellable);
}
