/* SPDX-License-Identifier: Apache-2.0 */
/* A VM pod's share: the directory of volumes that its guest sees through virtiofs. */
#pragma once

#include "sandbox/pods/pod.h"

#define POD_SHARE_TAG "crivirt"

/* Makes the share and mounts it in the guest, unless there is one whose file server lives. */
gboolean vm_pod_attach_share(Pod *pod, const Deadline *deadline, GError **error);
/* ---- a guest that is saved, and one that is restored ---- */

/* Replaces the file server of the pod's volumes when it has died, before the guest is frozen: its processes
 * could not come to rest while they wait for one. Without a share there is nothing to do. The caller has the
 * disk job. */
gboolean pod_share_prepare(Pod *pod, GError **error);
/* Takes the share's device from the guest, which Freeze has told to keep the file system, and writes what the
 * guest has open to the descriptor. pod_share_unpark() has to follow, whatever comes of it. The caller has
 * the disk job.
 */
gboolean pod_share_park(Pod *pod, int fd, const Deadline *deadline, GError **error);
/* Gives the device back and waits until the guest uses it. Without a share, or when the guest has it, there
 * is nothing to do. The caller has the disk job. */
gboolean pod_share_unpark(Pod *pod, AgentConnection *agent, const Deadline *deadline, GError **error);
/* The same for a caller without the disk job. */
gboolean pod_share_unpark_queued(Pod *pod, AgentConnection *agent, const Deadline *deadline, GError **error);

/* For a guest that was parked in a VM which may be another one now: gives it the share as it is, where its
 * file server and its fsguard live, else anew with what the guest had open, from that file. Without a share
 * there is nothing to do. bind binds the volumes. Errors: those of the two others. */
typedef gboolean (*PodShareBindFunc)(gpointer data, GError **error);
gboolean pod_share_return(Pod *pod, int saved_fd, PodShareBindFunc bind, gpointer data,
                          const Deadline *deadline, GError **error);

/* Attaches the share that the restored guest had when it was saved, of that number (pod->share_attached),
 * with what it had open. The binds have the saved names. Errors also: FAILED_PRECONDITION without
 * guest.volume_recovery. */
gboolean pod_share_restore(Pod *pod, guint generation, int saved_fd, PodShareBindFunc bind, gpointer data,
                           const Deadline *deadline, GError **error);

/* Marks the pod's containers when the file server dies, or has died already. */
void pod_share_watch(Pod *pod);
/* The death of a server that is watched now is no failure: the pod is hibernated, and its VM about to end. */
void pod_share_rest(Pod *pod);
