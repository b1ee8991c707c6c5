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

/* Has fsguard fail the guest's requests, which wait for a new server. */
void virtiofsd_give_up(const char *socket);
