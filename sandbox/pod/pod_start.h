/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a pod's VM: describes it, creates it or takes it from the pool, and restores it from a template or
 * boots it. vm_pod.c does the agent's Setup and ends the VM. */
#pragma once

#include "sandbox/pods/pod.h"
#include "sandbox/templates/template.h"

/* Starts the pod's VM and waits for the agent's Hello. The network namespace must exist. After a failure,
 * what is left is removed with the pod. */
gboolean pod_start_vm(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error);

/* Return: what the state of the pod's guest depends on (template_run_inputs()), which the caller frees; NULL
 * with the error. */
char **pod_start_run_inputs(Pod *pod, GError **error);
/* Checks that the VM of the request can continue from its checkpoint. Return: FALSE with FAILED_PRECONDITION
 * and the difference. */
gboolean pod_start_check_checkpoint(SandboxManager *manager, const PodRequest *request, GError **error);

/* Writes into the directory of a saved state what the state depends on (template_own_run_inputs()), and what
 * processor the guest has, which its handler may have no more when the state is loaded. */
gboolean pod_start_save_inputs(Pod *pod, int directory, GError **error);
/* Creates a VM for the state of the pod's own guest, which was saved (vmm/vmm_state.h) from a VM that is
 * gone, with its processor (pod_start_save_inputs()), its tap in the pod's network, its layers, and its
 * block devices (BlockAttachment), and loads the state. It stays paused. A failure leaves what
 * pod_start_undo_saved() removes. Errors: also FAILED_PRECONDITION when a VM of this node differs from the
 * saved one, with the difference. */
gboolean pod_start_load_saved(Pod *pod, int directory, int ram_fd, int device_fd, const GArray *blocks,
                              const Deadline *deadline, GError **error);
/* Removes the VM, the tap, and the processes of a parked share, which have the VM's memory as well; the pod's
 * files stay. */
gboolean pod_start_undo_saved(Pod *pod, const Deadline *deadline, GError **error);
/* Lets the loaded VM run, and waits for the agent's Hello. */
gboolean pod_start_run_saved(Pod *pod, const Deadline *deadline, GError **error);

/* PodPlatform's take_pooled. */
Template *pod_start_take_pooled(SandboxManager *manager, const PodRequest *request,
                                struct PooledGuest *ret_guest);

/* Puts the end of the guest's console in front of an error of the guest. */
void pod_start_prefix_console(Pod *pod, GError **error);
