/* SPDX-License-Identifier: Apache-2.0 */
/* Reaps the QEMU and virtiofsd processes that libvirt leaves to init.
 *
 * libvirt daemonizes QEMU, and checks with kill(pid, 0) whether it lives; a zombie counts as alive. So this
 * process becomes a child subreaper (prctl(2)), and a thread reaps QEMU and file servers as they end; it
 * knows them by their names and by their own sessions. Other children belong to the code that started them
 * (GSubprocess, libvirt's helpers), and are reaped only when they have been zombies for a minute.
 *
 * It replaces the handler of SIGCHLD, which nothing else in the daemon uses (GLib watches children by pidfd).
 * The signal may be blocked in all other threads. There is one reaper per process. It keeps how the last
 * QEMUs and file servers have ended.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct Reaper Reaper;

/* Return: the caller's; NULL with the error set. */
Reaper *reaper_start(GError **error);
/* Finds how a child has ended that is a QEMU or a file server; it may be ending now. *ret_signal is the
 * signal that killed it, or 0. Return: FALSE when there is no record of its end, as with a child of an
 * earlier daemon. Waits for up to timeout_ms for a child that still lives. Any thread. */
gboolean reaper_find_end(Reaper *reaper, pid_t pid, guint timeout_ms, int *ret_signal);
/* Ends the thread and restores the handler of SIGCHLD; the process stays a subreaper. Takes NULL. */
void reaper_stop(Reaper *reaper);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reaper, reaper_stop)
