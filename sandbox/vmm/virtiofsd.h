/* SPDX-License-Identifier: Apache-2.0 */
/* Starts virtiofsd, the file server of a guest's volumes.
 *
 * libvirt could start it, but the embedded driver of libvirt 9 crashes when it attaches a share without
 * cgroups. The server runs as root in namespaces of its own, where it sees only the share. It outlives the
 * daemon, and ends by itself when its client closes the connection; the reaper reaps it. Its client is
 * crivirt-fsguard (fsguard/main.c), which passes QEMU's messages on. When the server has died, it lets
 * another one take its place (virtiofsd_recovery.h), or answers the guest itself.
 *
 * With locks, the server never waits for one: the guest's kernel repeats an attempt that fails
 * (kernel/patches), and gets EOPNOTSUPP if it asks the server to wait. A waiting server would serve no other
 * request, and would outlive its guest. Threads: any.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    const char *source; /* the directory that is shared */
    const char *socket; /* where QEMU connects, once; an existing file is replaced */
    const char *log;    /* the file for its messages, overwritten */
    uid_t uid;          /* the user who may connect */
    gid_t gid;
    const char *cache; /* what the guest keeps in memory (host/volume_options.h) */
    gboolean locks; /* the guest's locks are taken on the node's files; else the guest keeps them to itself */
    gboolean recovery; /* another server may take the place of one that has died (virtiofsd_recovery.h) */
    int oom_score_adj; /* the pod's (common/children.def) */
    /* Of MemoryPart: where in the guest there is memory that the server cannot see, because QEMU has it
     * privately (vmm_memory.h). It needs recovery: fsguard refuses requests that use it. NULL: none. */
    const GArray *private_parts;
} VirtiofsdSpec;

typedef struct {
    pid_t server;
    pid_t fsguard; /* the first of its two processes; 0: it is not installed */
} VirtiofsdProcesses;

/* Return: whether fsguard is installed, without which there is no recovery. */
gboolean virtiofsd_can_recover(void);

/* The socket listens when this returns. The caller unlinks it once QEMU has connected. Errors:
 * FAILED_PRECONDITION when virtiofsd is not installed. */
gboolean virtiofsd_start(const VirtiofsdSpec *spec, VirtiofsdProcesses *ret_processes, GError **error);

/* Starts a server alone, with the connection of its client, which the caller closes. Errors: as above. */
gboolean virtiofsd_start_server(const VirtiofsdSpec *spec, pid_t *ret_server, int *ret_connection,
                                GError **error);

/* Starts fsguard alone, which listens at the socket when this returns, for a server that runs; the caller
 * closes its copy of the connection. Errors: FAILED_PRECONDITION when it is not installed, or without
 * recovery. */
gboolean virtiofsd_start_fsguard(const VirtiofsdSpec *spec, int connection, pid_t *ret_fsguard,
                                 GError **error);

/* Return: a socket that listens at the path for QEMU, the caller's; -1 with the error. */
int virtiofsd_listen(const VirtiofsdSpec *spec, const char *path, GError **error);

/* Return: the path of the socket on which the fsguard of that socket takes the daemon's commands
 * (fsguard/control.h); the caller frees it. */
char *virtiofsd_control_path(const char *socket);

/* Return: whether the fsguard with that log lives, which answers the guest when the server has died. */
gboolean virtiofsd_has_fsguard(const char *log);

/* Ends the server at that socket if QEMU has not connected yet, and removes the socket. */
void virtiofsd_end(const char *socket);

/* Ends servers that QEMU never connected to because the daemon was killed meanwhile. Their sockets, whose
 * names end in VIRTIOFSD_SOCKET_SUFFIX, are still in the directory. */
void virtiofsd_end_orphans(const char *directory);
#define VIRTIOFSD_SOCKET_SUFFIX ".fs"
