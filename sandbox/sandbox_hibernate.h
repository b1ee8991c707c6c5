/* SPDX-License-Identifier: Apache-2.0 */
/* What the manager needs of hibernation (sandbox_hibernate.c). */
#pragma once

#include "sandbox/pods/pod.h"

/* The function of manager->wake_workers: wakes the pod, which it unreferences. */
void sandbox_wake_work(gpointer pod, gpointer unused);

/* For a READY pod, at the daemon's start: undoes what a daemon that died in between has begun, so that the
 * pod is hibernated, without a VM, or runs. domains: VmmDomain, which are marked as running. */
void sandbox_hibernate_recover(Pod *pod, const GPtrArray *domains);
/* To be called next, when the pod runs and its agent is connected: lets its guest go on from there. */
void sandbox_hibernate_go_on(Pod *pod);
/* Return: whether a hibernated pod can still wake, after a restart of the daemon; FALSE with *ret_why,
 * static, when the node has been restarted as well. */
gboolean sandbox_hibernate_can_wake(Pod *pod, const char **ret_why);
