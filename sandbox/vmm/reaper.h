/* Reaps the QEMU and virtiofsd processes that libvirt leaves to init.
 *
 * libvirt daemonizes them and then asks with kill(pid, 0) whether they live; a zombie counts as alive. So the
 * process becomes a child subreaper (prctl(2)): they are its children, known by their names and by a session
 * of their own, and a thread reaps them as they end. Other children belong to whoever started them
 * (GSubprocess, libvirt's own helpers) and are left alone, except orphans that nobody has waited for in a
 * minute.
 *
 * Takes over SIGCHLD's handler, which nothing else in the daemon uses (GLib watches children by pidfd); the
 * signal may be blocked in any other thread. One reaper per process.
 */
#pragma once

#include <glib.h>

typedef struct Reaper Reaper;

Reaper *reaper_start(GError **error);
/* Ends the thread and puts SIGCHLD's handler back; the process stays a subreaper. Takes NULL. */
void reaper_stop(Reaper *reaper);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reaper, reaper_stop)
