/* SPDX-License-Identifier: Apache-2.0 */
/* Brings a pod's guest to rest and saves its state, for a checkpoint (sandbox_checkpoint.c) and for
 * hibernation (sandbox_hibernate.c).
 */
#pragma once

#include "sandbox/pods/pod.h"

/* Return: FALSE with FAILED_PRECONDITION for what a container has that cannot be saved. */
gboolean sandbox_save_check_container(const Container *container, GError **error);

/* Takes the jobs that keep the guest as it is: nothing is created in it, attached to it, or resized. */
gboolean sandbox_save_take_jobs(Pod *pod, const Deadline *deadline, GError **error);
void sandbox_save_release_jobs(Pod *pod);

typedef enum {
    SAVE_COPY, /* with the writable disk; the guest runs on, whatever comes of it */
    SAVE_REST, /* without it, because the pod keeps its own; the guest stays at rest, unless it fails */
} SaveKind;

/* Saves the state of a READY pod into the files of checkpoint.h in an empty directory: ram, devices, volumes
 * and disk. *ret_pause_us: for how long the containers did not run. The caller has the jobs. */
gboolean sandbox_save(Pod *pod, int directory, SaveKind kind, const Deadline *deadline, gint64 *ret_pause_us,
                      GError **error);
/* Lets a guest that stays at rest after SAVE_REST run on after all. What fails is logged: a guest that does
 * not go on has ended, or is found dead. */
void sandbox_save_go_on(Pod *pod);

/* Marks the guest as being saved, or as going on after that: that its agent is silent, or reports frozen
 * containers, is expected. sandbox_save() does so, and each way of letting it go on ends it. */
void sandbox_save_mark(Pod *pod, gboolean saving);

/* For a guest that runs again with a new connection to its agent: sets its clock, and thaws its containers,
 * which follows when it has its volumes. Failures as above. */
void sandbox_save_set_clock(Pod *pod);
void sandbox_save_thaw(Pod *pod);

/* After a restart of the daemon: resumes the VM of that name where an earlier daemon had paused it. domains:
 * VmmDomain, which are marked as running. */
void sandbox_save_resume(SandboxManager *manager, const char *id, const GPtrArray *domains);
