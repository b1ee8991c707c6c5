/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that no pod owns yet: a VM with the directories, the disk and the tap that belong to it. Pods, the
 * VM pool (vm_pool.h) and templates (template_store.h) all have guests of this one form, so that the state of
 * one guest fits the VM of another.
 *
 * An unassigned guest is in the journal (guest_journal.h) from before its first directory is created until it
 * is removed or a pod's row names it, so that nothing of it outlives a crash.
 *
 * Threads: any, one at a time for a guest. Errors: those of libvirt and the file system, with the cause.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"
#include "sandbox/vmm/domain_xml.h"

/* Creates the directories, which belong to a user that no other guest has, and the disk as a copy of the file
 * disk; NULL: of an empty disk. Errors: RESOURCE_EXHAUSTED when each of env->users has a guest. */
gboolean guest_files_make(const GuestEnvironment *env, const char *id, const char *disk, GError **error);
/* Creates the tap and the domain, which is paused. The names in spec (name, paths, tap, MAC, disks) are
 * ignored: they follow from id. With spec->incoming the VM expects a template's state. */
gboolean guest_vm_create(const GuestEnvironment *env, const char *id, const DomainSpec *spec,
                         const Deadline *deadline, GError **error);
/* Removes the domain, and its tap from the daemon's own network namespace. */
gboolean guest_vm_destroy(const GuestEnvironment *env, const char *id, const Deadline *deadline,
                          GError **error);
gboolean guest_files_remove(const GuestEnvironment *env, const char *id, GError **error);

/* Creates or removes files and VM, with the guest's entry in the journal, for a guest that no pod owns. With
 * them its network is removed, if it has one (guest_network.h). */
gboolean unassigned_guest_create(const GuestEnvironment *env, const char *id, const char *disk,
                                 const DomainSpec *spec, const Deadline *deadline, GError **error);
gboolean unassigned_guest_remove(const GuestEnvironment *env, const char *id, const Deadline *deadline,
                                 GError **error);
/* Return: whether a pod owns the guest with that id. */
typedef gboolean UnassignedGuestIsPod(const char *id, gconstpointer data);
/* Removes the guests that are in the journal and that no pod owns. It is called at the start, once the pods
 * are loaded. */
void unassigned_guest_sweep(const GuestEnvironment *env, UnassignedGuestIsPod *is_pod, gconstpointer data);
