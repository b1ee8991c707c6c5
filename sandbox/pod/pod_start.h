/* How a pod's machine comes to run: it is described, made or taken from the pool, and restored from a
 * template or booted. What the agent is told then, and the end, are pod_guest.c's. Internal to this folder.
 */
#pragma once

#include "sandbox/pods/pod.h"
#include "sandbox/templates/template.h"

/* From nothing to the agent's first word; the network namespace is there. What a failure leaves is ended with
 * the pod. */
gboolean pod_start_machine(Pod *pod, const Deadline *deadline, GError **error);
/* PodPlatform's find_waiting. */
char *pod_start_find_waiting(Pod *pod, Template **ret_template);
/* What the guest said before it fell silent is the best description of what is wrong with it. */
void pod_start_prefix_console(Pod *pod, GError **error);
