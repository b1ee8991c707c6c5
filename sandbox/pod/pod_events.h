/* SPDX-License-Identifier: Apache-2.0 */
/* Handles what agents and the hypervisor report about pods, and explains errors by it. */
#pragma once

#include "sandbox/pods/pod.h"

/* Opens the pod's connection to its agent. fresh: the guest was just created. */
void pod_connect(Pod *pod, gboolean fresh);
/* Closes that connection, if there is one. */
void pod_disconnect(Pod *pod);

/* A VmmStoppedFunc; data is the manager. */
void pod_on_guest_stopped(const char *name, VmmStopReason reason, const char *text, gpointer data);

/* To be called when the VM or host agent of the pod with that id has ended by itself. Calls that wait for it
 * fail at once, and a worker does the rest (pod_lost()). Any thread. why is copied. */
void manager_report_lost(SandboxManager *manager, const char *id, const char *why);

/* Marks the pod as no longer ready, and its containers as ended with exit code 255 and reason Unknown. */
void pod_lost(Pod *pod, const char *why);

/* Return: whether the end of a VM can be the cause of such an error; those of the request and of the caller's
 * deadline have others. */
gboolean pod_may_explain(const GError *error);
/* Completes an error of an operation on the pod. When the VM has died meanwhile, which the hypervisor may
 * not have reported yet, *error becomes UNAVAILABLE with the reason. Waits up to two seconds. */
void pod_explain(Pod *pod, GError **error);

/* Return: whether the VM has ended by itself. Waits up to two seconds, because the end of what belongs to a
 * VM may be seen before its own. */
gboolean pod_is_lost(Pod *pod);
