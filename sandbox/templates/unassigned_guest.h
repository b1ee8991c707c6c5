/* An anonymous guest: a machine that is nobody's yet, with the directories, the disk and the tap that go with
 * it. Pods, the pool (guest_pool.h) and the maker of templates (template.h) all have guests of this one form,
 * which is what makes one guest's state fit another's machine. Internal to this folder.
 *
 * Its id is its domain's name, and all paths follow from it; when the guest becomes a pod's, it is the pod's.
 * A guest without a pod is in the journal (a file of its id in state_dir/guests) from before its first
 * directory is made until it is gone or a pod's row speaks of it, so that nothing outlives a crash unknown.
 */
#pragma once

#include "sandbox/pods/pod.h"
#include "sandbox/vmm/domain_xml.h"

/* What every guest's interface has until Setup gives it the network's own: the guest knows it from its boot,
 * and may be a copy of another one. Locally administered; no frame ever bears it. */
#define GUEST_MAC "52:54:00:63:76:01"
#define GUEST_DISK_LUN 0 /* layers have the numbers after it */

/* The caller frees them. */
char *guest_run_dir(const SandboxManager *manager, const char *id);   /* QEMU's: agent socket, console */
char *guest_state_dir(const SandboxManager *manager, const char *id); /* writable disk */
char *guest_agent_socket(const SandboxManager *manager, const char *id);
char *guest_console_path(const SandboxManager *manager, const char *id);
char *guest_disk_path(const SandboxManager *manager, const char *id);
char *guest_tap(const char *id);

/* The directories and the disk, a copy of that one; NULL: of an empty one. */
gboolean guest_files_make(SandboxManager *manager, const char *id, const char *disk, GError **error);
/* The tap and the domain, paused. Of shape, what names a guest (name, paths, tap, MAC, disks) is filled in
 * here. With shape->incoming it has been told what to expect. */
gboolean guest_vm_create(SandboxManager *manager, const char *id, const DomainSpec *shape,
                         const Deadline *deadline, GError **error);
/* The domain, and its tap in the daemon's own namespace. */
gboolean guest_vm_destroy(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
gboolean guest_files_remove(SandboxManager *manager, const char *id, GError **error);

/* Both, with the journal, for a guest that is no pod's. */
gboolean unassigned_guest_create(SandboxManager *manager, const char *id, const char *disk,
                                 const DomainSpec *shape, const Deadline *deadline, GError **error);
gboolean unassigned_guest_remove(SandboxManager *manager, const char *id, const Deadline *deadline,
                                 GError **error);
/* A pod's row speaks of it now. */
void unassigned_guest_forget(SandboxManager *manager, const char *id);
/* At the start, once the pods are known: removes the guests that are nobody's. */
void unassigned_guest_sweep(SandboxManager *manager);
