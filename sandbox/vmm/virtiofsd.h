/* Starts virtiofsd, the file server behind a guest's volumes, for one guest.
 *
 * Not left to libvirt, because the embedded driver of libvirt 9 crashes when it attaches a share without
 * cgroups. The server runs as root in namespaces of its own (it sees nothing but the share), outlives the
 * daemon, and ends by itself when QEMU closes the connection; the reaper reaps it. Between the two stands a
 * guard (guard/main.c), which answers the guest when the server has died; when the guard dies, so does the
 * server.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    const char *source; /* directory that is shared */
    const char *socket; /* where QEMU connects, once; replaced if it exists */
    const char *log;    /* file for its messages, overwritten */
    uid_t uid;          /* who may connect */
    gid_t gid;
} VirtiofsdSpec;

/* The socket listens when this returns. Unlink it once QEMU has connected. */
gboolean virtiofsd_start(const VirtiofsdSpec *spec, pid_t *ret_pid, GError **error);

/* Whether a guard with that log lives, which answers the guest when the server has died. */
gboolean virtiofsd_has_fsguard(const char *log);

/* Ends the server at that socket if nobody has connected yet, and removes the socket. */
void virtiofsd_end(const char *socket);

/* Ends servers that nobody ever connected to, because the daemon was killed meanwhile: theirs are the sockets
 * (ending in VIRTIOFSD_SOCKET_SUFFIX) that are left in the directory. */
void virtiofsd_end_orphans(const char *directory);
#define VIRTIOFSD_SOCKET_SUFFIX ".fs"
