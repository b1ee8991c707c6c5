/* SPDX-License-Identifier: Apache-2.0 */
/* A hibernated pod's network: the namespace answers for the pod's addresses, and, with wake_on_traffic,
 * whoever connects or sends data to them wakes the pod and gets its answer from it
 * (cni-bridge/wake_frames.h).
 *
 * One source of manager->loop for each pod waits for its socket. Once the pod was to wake, the source rests
 * for a while, so that a pod that cannot wake is not tried for each packet.
 *
 * Locks: pod->lock guards pod->watch. Threads: any; the caller has the pod's job, or no other thread knows
 * the pod yet. Failures are logged: the pod is hibernated all the same.
 */
#pragma once

#include "sandbox/pods/pod.h"

/* For a hibernated pod that has no watch. rests: a wake has just failed, and the next one is not tried at
 * once. */
void pod_watch_begin(Pod *pod, gboolean rests);
/* Leads frames to the tap of the pod's new VM. The watch stays, and gets no more of them. */
gboolean pod_watch_hand_over(Pod *pod, GError **error);
/* Sends the frames that have come meanwhile to the VM, which has to run: with vhost-net, the first frame that
 * the tap gets before that is lost. */
void pod_watch_pass_on(Pod *pod);
/* Closes the socket. For any pod, also without its job when the daemon ends. */
void pod_watch_end(Pod *pod);
