/* SPDX-License-Identifier: Apache-2.0 */
/* Replaces a virtiofsd that has died: fsguard (fsguard/relay.h) gives the new one the guest's open files and
 * directories. Threads: any, but one call for a share at a time.
 */
#pragma once

#include "sandbox/vmm/virtiofsd.h"

/* Has fsguard keep the mount namespace of the server, in which the volumes are bound. To be called when the
 * guest has mounted the share, because the server has its namespace by then. */
gboolean virtiofsd_keep_namespace(const char *socket, pid_t server, GError **error);

/* Binds the volumes of the dead server, which are in that mount namespace, in that of the new one. */
typedef gboolean (*VirtiofsdBindFunc)(int namespace_fd, pid_t server, gpointer data, GError **error);

/* Starts a server for a share whose server has died, and returns when the guest uses it. It runs in the
 * cgroup of the caller. *ret_summary, which the caller frees, says what the guest has there. Errors:
 * FAILED_PRECONDITION when there is no fsguard, or it keeps no namespace; UNAVAILABLE when the new server
 * does not work. */
gboolean virtiofsd_replace(const VirtiofsdSpec *spec, VirtiofsdBindFunc bind, gpointer data,
                           pid_t *ret_server, char **ret_summary, GError **error);

/* A guest is saved without the device of its share, and keeps the file system (kernel/patches). fsguard and
 * the server stay when QEMU closes the connection, and QEMU connects again at that path, for which spec->uid
 * has the right. Errors: FAILED_PRECONDITION when the share was started without recovery. */
gboolean virtiofsd_park(const VirtiofsdSpec *spec, const char *path, GError **error);
/* The device is back for good, or will not come back; then fsguard and the server end. A share that is not
 * parked stays as it is. */
void virtiofsd_unpark(const char *socket);
/* Writes what the guest has of the server of a parked share (fsguard/relay_state.h). */
gboolean virtiofsd_save(const char *socket, int fd, GError **error);
/* Starts the share of a guest that was saved, for volumes that may be others; the binds are those of the
 * saved share, by their names. bind gets no namespace. Errors: DATA_LOSS when the file is invalid; those of
 * virtiofsd_start(). */
gboolean virtiofsd_start_saved(const VirtiofsdSpec *spec, int saved_fd, VirtiofsdBindFunc bind, gpointer data,
                               VirtiofsdProcesses *ret_processes, GError **error);

/* Has fsguard fail the guest's requests, which wait for a new server. */
void virtiofsd_give_up(const char *socket);
