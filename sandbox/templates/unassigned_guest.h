/* An anonymous guest: a machine that is nobody's yet, with the directories, the disk and the tap that go with
 * it. Pods, the pool (guest_pool.h) and the maker of templates (template.h) all have guests of this one form,
 * which is what makes one guest's state fit another's machine. Internal to this folder.
 *
 * Its id is its domain's name, and all paths follow from it; when the guest becomes a pod's, it is the pod's.
 * A guest without a pod is in the journal (a file of its id in state_dir/guests) from before its first
 * directory is made until it is gone or a pod's row speaks of it, so that nothing outlives a crash unknown.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"
#include "sandbox/vmm/domain_xml.h"

/* The directories and the disk, a copy of that one; NULL: of an empty one. */
gboolean guest_files_make(const GuestEnvironment *env, const char *id, const char *disk, GError **error);
/* The tap and the domain, paused. Of shape, what names a guest (name, paths, tap, MAC, disks) is filled in
 * here. With shape->incoming it has been told what to expect. */
gboolean guest_vm_create(const GuestEnvironment *env, const char *id, const DomainSpec *shape,
                         const Deadline *deadline, GError **error);
/* The domain, and its tap in the daemon's own namespace. */
gboolean guest_vm_destroy(const GuestEnvironment *env, const char *id, const Deadline *deadline,
                          GError **error);
gboolean guest_files_remove(const GuestEnvironment *env, const char *id, GError **error);

/* Both, with the journal, for a guest that is no pod's. */
gboolean unassigned_guest_create(const GuestEnvironment *env, const char *id, const char *disk,
                                 const DomainSpec *shape, const Deadline *deadline, GError **error);
gboolean unassigned_guest_remove(const GuestEnvironment *env, const char *id, const Deadline *deadline,
                                 GError **error);
/* A pod's row speaks of it now. */
void unassigned_guest_forget(const GuestEnvironment *env, const char *id);
/* Whether the guest with that id is a pod's. */
typedef gboolean UnassignedGuestIsPod(const char *id, gconstpointer data);
/* At the start, once the pods are known: removes the guests that the journal names and no pod owns. */
void unassigned_guest_sweep(const GuestEnvironment *env, UnassignedGuestIsPod *is_pod, gconstpointer data);
