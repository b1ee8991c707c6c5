/* The hypervisor: every libvirt call of the daemon is in vmm.c, and nothing here knows of pods or containers.
 *
 * A domain is named by its sandbox id. Calls block for tens of milliseconds; any thread may make them.
 * Domains are transient and outlive the daemon: after vmm_open() those of the last run are found again by
 * vmm_list().
 */
#pragma once

#include "common/deadline.h"
#include "sandbox/vmm/domain_xml.h"

typedef struct Vmm Vmm;

typedef struct {
    const char *uri;         /* "embed": in this process; else a libvirt URI such as qemu:///system */
    const char *state_dir;   /* absolute: the embedded driver's root is state_dir/libvirt */
    const char *run_dir;     /* absolute, QEMU may enter it: sockets, consoles */
    const char *accelerator; /* "auto", "kvm", "tcg" */
    const char *qemu_user;   /* whom QEMU runs as, "libvirt-qemu" */
    const char *qemu_group;
} VmmConfig;

typedef enum {
    VMM_STOPPED_SHUTDOWN,  /* the guest powered itself off */
    VMM_STOPPED_DESTROYED, /* vmm_destroy() or an administrator */
    VMM_STOPPED_CRASHED,   /* guest panic or reset, or QEMU ended by itself or was killed */
} VmmStopReason;

typedef struct {
    char *name;
    gboolean running; /* or waiting for space on the node's disk; else paused */
    pid_t pid;        /* QEMU's; 0 when unknown */
} VmmDomain;
void vmm_domain_free(VmmDomain *domain);

/* Called on the event thread, once for every domain that was created or adopted, with the reason of its end
 * as text: must not block, and must not call the Vmm. vmm_destroy() may return before its call. A
 * vmm_create() that fails is not reported here. */
typedef void (*VmmStoppedFunc)(const char *name, VmmStopReason reason, const char *text, gpointer data);
/* Called with the reason of the end of a domain that is watched: must not block, and must not call the Vmm.
 */
typedef void (*VmmEndFunc)(const char *text, gpointer data);

/* Opens the connection, starts its event thread and the reaper of QEMU and virtiofsd children (the process
 * becomes a child subreaper), warms the capability cache, waits until the guests of the last run are adopted;
 * those that ended meanwhile are simply not listed. One per process and state_dir; libvirt's embedded driver
 * stays for the life of the process, so a process that has closed it can only open the same state_dir again.
 * Call it before there are other threads, with SIGCHLD blocked if other threads shall not see it. UNAVAILABLE
 * when another process has the state_dir; FAILED_PRECONDITION tells what to set up. */
Vmm *vmm_open(const VmmConfig *config, VmmStoppedFunc stopped, gpointer data, GError **error);
/* Closes the connection; the domains run on. Takes NULL. */
void vmm_close(Vmm *vmm);

/* TRUE: hardware acceleration. ret_reason (owned by the Vmm) says in a sentence why or why not, for Status.
 */
gboolean vmm_uses_kvm(Vmm *vmm, const char **ret_reason);

/* Creates the domain paused, so that its tap can be moved before the guest runs. spec->accelerated
 * and spec->owner are ignored: the first follows from spec->accelerator and the node. Makes the console file
 * and gives it and the writable disks to QEMU's user. UNAVAILABLE/INTERNAL with libvirt's words and the end
 * of QEMU's log, FAILED_PRECONDITION where the wished accelerator is not there. */
gboolean vmm_create(Vmm *vmm, const DomainSpec *spec, const Deadline *deadline, GError **error);
/* A guest that waits for its state (spec->incoming) counts as started from here on: only then is its end
 * reported. */
gboolean vmm_resume(Vmm *vmm, const char *name, GError **error);
gboolean vmm_pause(Vmm *vmm, const char *name, GError **error);
/* Return: why the VM ended by itself, as the rest of a sentence, with QEMU's last message where there is one
 * ("QEMU ended: qemu-system-x86_64: cannot set up guest memory…"); NULL while it lives, when it was
 * destroyed, or when there is no record of it. The caller frees it. The record lasts until vmm_destroy().
 * Never waits. */
char *vmm_stop_text(Vmm *vmm, const char *name);
/* Calls func once the VM has ended, on the event thread, also when it was destroyed or had not been resumed
 * yet; at once, on the caller's thread, when it has ended by itself already. So a caller that waits for the
 * guest learns why it will wait in vain. func is not called any more when vmm_unwatch_end() has returned. */
void vmm_watch_end(Vmm *vmm, const char *name, VmmEndFunc func, gpointer data);
void vmm_unwatch_end(Vmm *vmm, const char *name, gpointer data);
/* A domain that does not exist is success. Returns when QEMU is gone, or fails by the deadline. */
gboolean vmm_destroy(Vmm *vmm, const char *name, const Deadline *deadline, GError **error);
gboolean vmm_list(Vmm *vmm, GPtrArray **ret_domains, GError **error);

gboolean vmm_attach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, GError **error);
/* Whether the domain has a disk of that serial. NOT_FOUND when there is no such domain. */
gboolean vmm_has_disk(Vmm *vmm, const char *name, const char *serial, gboolean *ret_has, GError **error);
/* One per guest at a time. Starts its virtiofsd, which ends with the guest. The directory must be a mount of
 * its own and shared (mount --make-shared) beforehand if mounts made below it later are to be seen by the
 * guest. */
gboolean vmm_attach_share(Vmm *vmm, const char *name, const ShareSpec *share, pid_t *ret_server,
                          GError **error);

/* Whether somebody is left to answer what the guest asks of its share. */
gboolean vmm_share_has_fsguard(Vmm *vmm, const char *name);

/* Asks QEMU's monitor itself (QMP, one JSON object); fd goes along for getfd, -1: none. The caller frees the
 * reply, which may be QEMU's error. */
gboolean vmm_monitor(Vmm *vmm, const char *name, const char *command, int fd, char **ret_reply,
                     GError **error);
/* QEMU's and libvirt's versions, as numbers. */
gboolean vmm_versions(Vmm *vmm, gulong *ret_qemu, gulong *ret_libvirt, GError **error);
/* A device of the node under vfio-pci, for the rest of the guest's life; one that is attached is success. It
 * takes one of spec->passthrough_ports. */
gboolean vmm_attach_pci(Vmm *vmm, const char *name, const PciAddress *address, GError **error);
/* One that is not attached is success. */
gboolean vmm_detach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, const Deadline *deadline,
                         GError **error);
/* One that is not attached is success. Returns when the guest has let it go; its virtiofsd ends then. What is
 * mounted from it in the guest fails from then on. */
gboolean vmm_detach_share(Vmm *vmm, const char *name, const ShareSpec *share, const Deadline *deadline,
                          GError **error);

/* TRUE: QEMU has paused the guest because the node's disk is full. It goes on by itself when there is space.
 * Never waits. */
gboolean vmm_is_blocked(Vmm *vmm, const char *name);

/* ---- the size of a running guest ---- */

/* Plugs processors in until there are so many; those that are there stay. The guest's agent has to use them.
 */
gboolean vmm_plug_vcpus(Vmm *vmm, const char *name, guint vcpus, GError **error);
/* Tells the guest how much of its pluggable memory (spec->pluggable_memory_bytes) it is to have. It takes its
 * time, and may not be able to give back what it uses. */
gboolean vmm_request_memory(Vmm *vmm, const char *name, guint64 pluggable_bytes, guint64 plugged_bytes,
                            GError **error);
/* How much of it it has. */
gboolean vmm_plugged_memory(Vmm *vmm, const char *name, guint64 *ret_bytes, GError **error);

/* QEMU's process; 0 when it is not known or gone. */
pid_t vmm_pid(Vmm *vmm, const char *name);
