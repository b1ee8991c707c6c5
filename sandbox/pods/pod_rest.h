/* SPDX-License-Identifier: Apache-2.0 */
/* Who may use a pod's guest, and who may put it to rest: a hibernated pod has no VM (sandbox_hibernate.c).
 *
 * A call that needs the guest takes a turn (pod_turn.h), which wakes a hibernated pod and keeps it awake. A
 * change of the rest, into hibernation or out of it, begins when no turn is taken; turns that are taken
 * meanwhile wait for its end. So a call that holds a turn may take another one, and the turn comes before
 * each job.
 *
 * Threads: any.
 */
#pragma once

#include "sandbox/pods/pod.h"

/* Waits until the pod is awake, for which a worker wakes it. Called with pod->lock held. Return: TRUE also
 * when the pod is not READY any more; FALSE with the reason why it does not wake, or with the deadline's
 * error. */
gboolean pod_rest_wait_awake_locked(Pod *pod, const Deadline *deadline, GError **error);

#define POD_WAKE_BY_CALL "call"
#define POD_WAKE_BY_TRAFFIC "traffic"

/* Lets a worker wake a hibernated pod that got traffic. Does not block. Return: whether it does; FALSE when a
 * change is under way, the pod is not hibernated, or the daemon ends. */
gboolean pod_rest_wake(Pod *pod);
/* Return: whether the pod is being hibernated or woken. */
gboolean pod_rest_changes(Pod *pod);

/* Called before the change into hibernation, which pod_rest_change_end() follows. Waits until no call uses
 * the guest, and, with force, no stream session. *ret_is_hibernated: the pod is hibernated already, and no
 * change has begun. Errors: FAILED_PRECONDITION when it is not READY, or has stream sessions, with their
 * number; UNAVAILABLE when calls are still under way at the deadline, with their number. */
gboolean pod_rest_change_begin(Pod *pod, gboolean force, const Deadline *deadline,
                               gboolean *ret_is_hibernated, GError **error);
/* Ends the change. problem, which becomes the pod's: why it was not woken; NULL: none. */
void pod_rest_change_end(Pod *pod, GError *problem);

/* Return: whether the pod is hibernated. */
gboolean pod_is_hibernated(Pod *pod);
