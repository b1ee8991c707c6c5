/* SPDX-License-Identifier: Apache-2.0 */
/* The VMs, as libvirt domains. All libvirt calls of the daemon are in this folder, which knows no pods or
 * containers.
 *
 * A domain is named by its sandbox id. Domains are transient and outlive the daemon: after vmm_open(),
 * vmm_list() returns those of the last run.
 *
 * Errors: NOT_FOUND when there is no such VM; UNAVAILABLE with the reason when it has ended by itself; else
 * libvirt's message, with QEMU's where there is one. Threads: any. Calls block for tens of milliseconds.
 */
#pragma once

#include "common/deadline.h"
#include "common/json.h"
#include "sandbox/host/qemu_program.h"
#include "sandbox/vmm/domain_xml.h"
#include "sandbox/vmm/virtiofsd.h"
#include "sandbox/vmm/virtiofsd_recovery.h"

typedef struct Vmm Vmm;

typedef struct {
    const char
        *uri; /* "embed": libvirt's driver in this process; else a libvirt URI such as qemu:///system */
    const char *state_dir;   /* absolute: the embedded driver's root is state_dir/libvirt */
    const char *run_dir;     /* absolute, for sockets and consoles; QEMU's user may enter it */
    const char *accelerator; /* "auto", "kvm", "tcg" */
    const char *qemu;        /* the option: "auto", "debian" or a path (qemu_program.h) */
    const char *qemu_user;   /* the account that QEMU runs as, "libvirt-qemu" */
    const char *qemu_group;
    gboolean private_devices; /* embedded driver: each QEMU has a mount namespace with a /dev of its own */
} VmmConfig;

typedef enum {
    VMM_STOPPED_SHUTDOWN,  /* the guest powered itself off */
    VMM_STOPPED_DESTROYED, /* vmm_destroy() or an administrator */
    VMM_STOPPED_RESET,     /* the guest reset itself, which it does in a panic only */
    VMM_STOPPED_CRASHED,   /* QEMU failed or was killed */
} VmmStopReason;

typedef struct {
    char *name;
    gboolean running; /* also while the node's full disk blocks it; else it is paused */
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
/* Called when QEMU has paused the guest because the node's disk is full, with that as text ("the node's disk
 * is full: PATH: …"), and with NULL when the guest runs again: must not block, and must not call the Vmm. */
typedef void (*VmmBlockedFunc)(const char *text, gpointer data);

/* Opens the connection, starts its event thread and the reaper of QEMU and virtiofsd processes (this process
 * becomes a child subreaper), and adopts the domains of the last run; those that ended meanwhile are not
 * listed. There is one Vmm per process and state_dir. libvirt's embedded driver stays open until the process
 * ends, so that a process which has closed its Vmm can only open one with the same state_dir. It must be
 * called before other threads exist, with SIGCHLD blocked if they shall not receive it. Errors: UNAVAILABLE
 * when another process uses the state_dir; FAILED_PRECONDITION with what the administrator has to set up. */
Vmm *vmm_open(const VmmConfig *config, VmmStoppedFunc stopped, gpointer data, GError **error);
/* Closes the connection; the domains run on. Takes NULL. */
void vmm_close(Vmm *vmm);
/* Runs function(data) soon on the thread of libvirt's events, for checks whether it moves. */
void vmm_events_ask(Vmm *vmm, void (*function)(gpointer data), gpointer data);

/* Return: TRUE for hardware acceleration. *ret_reason, which the Vmm owns, is the reason as a sentence for
 * Status. */
gboolean vmm_uses_kvm(Vmm *vmm, const char **ret_reason);

/* Return: the QEMU of the VMs that are created; those of earlier daemons may have another. The Vmm owns it.
 */
const QemuProgram *vmm_qemu(Vmm *vmm);

/* Sets spec->accelerated and spec->baseline, as spec->accelerator and spec->cpu ask for on this node. Errors:
 * those of accelerator_choose() and of cpu_node_baseline(). */
gboolean vmm_choose_processor(Vmm *vmm, DomainSpec *spec, GError **error);
/* Asks QEMU which processor a guest on x86-64 has. *ret_cpu, which is static, is the value of the option cpu
 * with which its VM was created. *ret_time_stamp_khz is the rate of its time stamp counter with KVM; 0:
 * emulated. */
gboolean vmm_processor(Vmm *vmm, const char *name, const char **ret_cpu, guint *ret_time_stamp_khz,
                       GError **error);
/* Asks QEMU what runs a guest's code: *ret_accelerator, which is static, is "kvm" or "tcg". */
gboolean vmm_accelerator(Vmm *vmm, const char *name, const char **ret_accelerator, GError **error);

/* Creates the domain paused, so that its tap can be moved before the guest runs. Makes the console file, and
 * makes QEMU's user (spec->user) the owner of it and of the writable disks. A user of its own may
 * open /dev/kvm while QEMU starts. spec->accelerated, spec->owner and
 * spec->emulator are ignored: the Vmm sets them. Errors: UNAVAILABLE or INTERNAL with libvirt's message and
 * QEMU's; FAILED_PRECONDITION when the node does not have the accelerator that spec asks for. */
gboolean vmm_create(Vmm *vmm, const DomainSpec *spec, const Deadline *deadline, GError **error);
/* Lets the guest run. The end of a guest that waits for its state (spec->incoming) is reported to
 * VmmStoppedFunc only after this. */
gboolean vmm_resume(Vmm *vmm, const char *name, GError **error);
gboolean vmm_pause(Vmm *vmm, const char *name, GError **error);
/* Return: why the VM ended by itself, as the rest of a sentence, with QEMU's last message where there is one
 * ("QEMU ended: qemu-system-x86_64: cannot set up guest memory…"), or with the signal that killed it; NULL
 * while it lives, when it was destroyed, or when there is no record of it. The caller frees it. The record
 * lasts until vmm_destroy(). Never waits. */
char *vmm_stop_text(Vmm *vmm, const char *name);
/* Calls func once the VM has ended, on the event thread, also when it was destroyed or had not been resumed
 * yet; at once, on the caller's thread, when it has ended by itself already. So a caller that waits for the
 * guest learns why it will wait in vain. func is not called any more when vmm_unwatch_end() has returned. */
void vmm_watch_end(Vmm *vmm, const char *name, VmmEndFunc func, gpointer data);
void vmm_unwatch_end(Vmm *vmm, const char *name, gpointer data);
/* Calls func whenever the node's full disk blocks the guest and when it does not any more, on a thread of the
 * Vmm; at once, on the caller's thread, when the guest is blocked already. So a caller that waits for the
 * guest learns why it does not answer. func is not called any more when vmm_unwatch_blocked() has returned.
 */
void vmm_watch_blocked(Vmm *vmm, const char *name, VmmBlockedFunc func, gpointer data);
void vmm_unwatch_blocked(Vmm *vmm, const char *name, gpointer data);
/* Kills QEMU, and returns when its process has ended. A domain that does not exist is success. deadline may
 * be NULL: 30 s. */
gboolean vmm_destroy(Vmm *vmm, const char *name, const Deadline *deadline, GError **error);
/* Return: *ret_domains, which the caller frees, owns VmmDomain elements. */
gboolean vmm_list(Vmm *vmm, GPtrArray **ret_domains, GError **error);

gboolean vmm_attach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, GError **error);
/* Reads whether the VM has a disk with that serial. */
gboolean vmm_has_disk(Vmm *vmm, const char *name, const char *serial, gboolean *ret_has, GError **error);
/* Starts virtiofsd for the share, which ends with the guest, and attaches the share. A guest has at most one
 * share. The directory must be a shared mount of its own (mount --make-shared) before, if the guest is to see
 * mounts that are made below it later. */
gboolean vmm_attach_share(Vmm *vmm, const char *name, const ShareSpec *share,
                          VirtiofsdProcesses *ret_processes, GError **error);

/* For a share with recovery: to be called when the guest has mounted it (virtiofsd_recovery.h). */
gboolean vmm_keep_share(Vmm *vmm, const char *name, pid_t server, GError **error);
/* Replaces the share's virtiofsd, which has died; the guest's open files go on. Errors: as
 * virtiofsd_replace().
 */
gboolean vmm_recover_share(Vmm *vmm, const char *name, const ShareSpec *share, VirtiofsdBindFunc bind,
                           gpointer data, pid_t *ret_server, char **ret_summary, GError **error);
/* The share's virtiofsd has died and is not replaced: the guest's requests fail from now on. */
void vmm_give_up_share(Vmm *vmm, const char *name);

/* For an error that the end of the share's virtiofsd has caused: it becomes UNAVAILABLE, and begins with that
 * and with virtiofsd's last message. */
void vmm_share_explain(Vmm *vmm, const char *name, GError **error);

/* Return: whether the share's fsguard lives, which answers the guest when virtiofsd has died. */
gboolean vmm_share_has_fsguard(Vmm *vmm, const char *name);

/* Sends a command (QMP, one JSON object) to QEMU's monitor. fd is passed along for getfd; -1: none. ret_reply
 * may be NULL; the caller owns the reply. Errors: what QEMU refuses is INTERNAL, with QEMU's reason. */
gboolean vmm_command(Vmm *vmm, const char *name, const char *command, int fd, JsonDocument **ret_reply,
                     GError **error);
/* Reads libvirt's version, as it encodes it: major * 1000000 + minor * 1000 + release. */
gboolean vmm_libvirt_version(Vmm *vmm, gulong *ret_version, GError **error);
/* Attaches a PCI device of the node, which has the driver vfio-pci, until the VM ends. It uses one of
 * spec->passthrough_ports. A device that is attached already is success. */
gboolean vmm_attach_pci(Vmm *vmm, const char *name, const PciAddress *address, GError **error);
/* Returns when the guest has released the disk. A disk that is not attached is success. */
gboolean vmm_detach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, const Deadline *deadline,
                         GError **error);
/* Returns when the guest has released the share; its virtiofsd ends then, and its mounts in the guest fail
 * from then on. A share that is not attached is success. */
gboolean vmm_detach_share(Vmm *vmm, const char *name, const ShareSpec *share, const Deadline *deadline,
                          GError **error);

/* Takes the share's device from a guest that keeps the file system (agent.proto, Freeze), because QEMU cannot
 * save a guest with such a device, and writes what the guest has open to the descriptor. The share needs
 * recovery. Its virtiofsd stays; vmm_unpark_share() has to follow, also after a failure and in a later
 * daemon. */
gboolean vmm_park_share(Vmm *vmm, const char *name, const ShareSpec *share, int fd, const Deadline *deadline,
                        GError **error);
/* Ends the fsguard and the virtiofsd of a parked share, to which no VM will go back. */
void vmm_end_parked_share(Vmm *vmm, const char *name);
/* Gives the device back. A share that is attached is success. When the guest uses it, vmm_finish_unpark()
 * follows; until then the next daemon may have to do it again. */
gboolean vmm_unpark_share(Vmm *vmm, const char *name, const ShareSpec *share, GError **error);
void vmm_finish_unpark(Vmm *vmm, const char *name);
/* Attaches the share of a guest that was restored, which has the file system, with what it had open. Errors:
 * as virtiofsd_start_saved(). */
gboolean vmm_attach_saved_share(Vmm *vmm, const char *name, const ShareSpec *share, int saved_fd,
                                VirtiofsdBindFunc bind, gpointer data, VirtiofsdProcesses *ret_processes,
                                GError **error);

/* Return: whether QEMU has paused the guest because the node's disk is full. The guest continues by itself
 * when there is space. Never waits. */
gboolean vmm_is_blocked(Vmm *vmm, const char *name);

/* ---- the size of a running guest ---- */

/* Adds CPUs until the VM has that many; it never removes one. The guest's agent has to bring new ones online.
 */
gboolean vmm_plug_vcpus(Vmm *vmm, const char *name, guint vcpus, GError **error);
/* Asks the guest to use plugged_bytes of its pluggable memory (spec->pluggable_memory_bytes). The guest needs
 * time for that, and may be unable to give back memory that it uses. */
gboolean vmm_request_memory(Vmm *vmm, const char *name, guint64 pluggable_bytes, guint64 plugged_bytes,
                            GError **error);
/* Reads how much of its pluggable memory the guest has. It has been told of the last change for a moment, in
 * which it makes use of it. */
gboolean vmm_plugged_memory(Vmm *vmm, const char *name, guint64 *ret_bytes, GError **error);
/* The same by a question to QEMU: the guest may not use all of it yet. For a restored guest, of whose memory
 * QEMU has reported no change. */
gboolean vmm_plugged_memory_now(Vmm *vmm, const char *name, guint64 *ret_bytes, GError **error);

/* Reads which user and group the domain's QEMU runs as: spec->user, or those of VmmConfig. */
gboolean vmm_user(Vmm *vmm, const char *name, uid_t *ret_uid, gid_t *ret_gid, GError **error);
/* Return: QEMU's process; 0 when it is unknown or has ended. */
pid_t vmm_pid(Vmm *vmm, const char *name);
