/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that implement vmm.h share: only they, and vmm_state.c through vmm_command(), talk to
 * libvirt.
 *
 *   vmm.c          opens and closes the connection
 *   vmm_adopt.c    finds the domains of an earlier daemon again
 *   vmm_leftovers.c takes out of QEMU what an earlier daemon was attaching when it died
 *   vmm_memory.c   finds the guest's memory in QEMU, and has guests share what they do not change
 *   vmm_monitor.c  sends commands to QEMU's monitor
 *   vmm_processor.c reports which processor a guest has
 *   vmm_events.c   runs libvirt's event loop and reports the end of domains
 *   vmm_disk_full.c lets guests continue that were paused because the node's disk was full
 *   vmm_domain.c   creates, resumes, pauses, lists and destroys domains
 *   vmm_devices.c  attaches and detaches disks, shares and PCI devices
 *   vmm_resize.c   changes the processors and the memory of a running guest
 *   vmm_error.c    turns libvirt's errors into GErrors
 */
#pragma once

#include <libvirt/libvirt.h>

#include "sandbox/vmm/domain_xml_read.h"
#include "sandbox/vmm/reaper.h"
#include "sandbox/vmm/vmm.h"
#include "sandbox/vmm/vmm_root.h"
#include "sandbox/vmm/vmm_table.h"

/* The thread that resumes guests which the full disk of the node has paused. */
typedef struct {
    GThread *thread; /* NULL: not started */
    GMutex lock;
    GCond changed;
    gboolean is_needed; /* a guest may be blocked */
    gboolean is_stopping;
} DiskFullThread;

/* Whether QEMU has the command that vmm_memory_map() needs. */
enum { MAPS_UNKNOWN, MAPS_NO, MAPS_YES };

struct Vmm {
    gboolean embedded;
    gboolean kvm;
    QemuProgram qemu;
    gint maps_privately;
    char *qemu_user;
    char *qemu_group;
    char *accelerator_wish;
    char *accelerator; /* the accelerator in use and why, as a sentence */
    char *state_dir;
    char *loans;      /* where it is recorded which VM may open a file for a moment: file_loan.h */
    char *root;       /* of the embedded driver */
    char *run_dir;    /* where libvirt keeps its files of process ids */
    char *socket_dir; /* where the sockets of the virtiofsd servers are */
    VmmIdentity identity;
    int lock_fd;
    Reaper *reaper;
    virConnectPtr connection;
    int callback_id;
    int io_error_callback_id;
    int qemu_callback_id;
    int trim_timer;
    VmmStoppedFunc stopped;
    gpointer stopped_data;
    GThread *event_thread;
    gint event_stop;
    VmmTable *table;
    DiskFullThread disk_full;
};

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)

/* ---- vmm_error.c ---- */

/* Sets the error to "DOING: LIBVIRT'S MESSAGE". Return: FALSE. */
gboolean vmm_fail(GError **error, const char *doing);
/* Adds QEMU's last message to the error, unless libvirt's message contains one of QEMU already. */
void vmm_error_add_qemu_log(Vmm *vmm, const char *name, GError **error);
/* For a call that failed because libvirt finds no running domain: waits shortly for the event of its end.
 * Return: TRUE with the error set to "DOING: WHY IT ENDED" (UNAVAILABLE) when the domain has ended by itself.
 */
gboolean vmm_fail_if_ended(Vmm *vmm, const char *name, const char *doing, GError **error);
/* Return: the last lines of QEMU's log, "" when there are none; the caller frees it. */
char *vmm_qemu_log_tail(Vmm *vmm, const char *name);
/* Return: the directory of the logs of all QEMUs; the caller frees it. */
char *vmm_qemu_log_directory(Vmm *vmm);
/* Return: the path of QEMU's log; the caller frees it. */
char *vmm_qemu_log_path(Vmm *vmm, const char *name);

/* ---- vmm_events.c ---- */

/* Starts the thread that runs libvirt's event loop; before the connection is opened. */
void vmm_events_start(Vmm *vmm);
/* Registers the callbacks for the connection. */
gboolean vmm_events_register(Vmm *vmm, GError **error);
void vmm_events_deregister(Vmm *vmm);
/* Ends the thread, after the connection is closed. Does nothing when it was not started. */
void vmm_events_stop(Vmm *vmm);

/* ---- vmm_disk_full.c ---- */

void vmm_disk_full_start(Vmm *vmm);
void vmm_disk_full_stop(Vmm *vmm);
/* Marks the guest as blocked, and has the thread resume it when there is space. */
void vmm_disk_full_add(Vmm *vmm, const char *name);
/* Return: whether QEMU has paused the domain because of an I/O error. */
gboolean vmm_disk_full_has_paused(virDomainPtr domain);

/* ---- vmm_adopt.c ---- */

/* Enters the domains of an earlier daemon in the table, and waits until each is known to live. */
gboolean vmm_adopt_all(Vmm *vmm, GError **error);
/* Calls visit() for each active domain of this daemon's state directory. */
gboolean vmm_for_each_domain(Vmm *vmm, void (*visit)(Vmm *vmm, virDomainPtr domain, gpointer data),
                             gpointer data, GError **error);

/* ---- vmm_leftovers.c ---- */

/* Takes out of QEMU the disks, shares and PCI devices that libvirt's description of the domain does not have:
 * an earlier daemon was killed after libvirt had given them to QEMU and before libvirt had recorded them.
 * libvirt would give their names to the next device, which QEMU then refuses. What fails is logged. */
void vmm_remove_leftovers(Vmm *vmm, virDomainPtr domain);

/* ---- vmm_domain.c ---- */

/* Return: the domain, the caller's; NULL with NOT_FOUND when there is none of that name. */
virDomainPtr vmm_find_domain(Vmm *vmm, const char *name, GError **error);
/* Return: which user the domain's QEMU runs as, by its XML. */
VmmIdentity vmm_identity_in(const Vmm *vmm, const DomainXml *xml);
/* Reads libvirt's XML of the domain. */
gboolean vmm_read_xml(virDomainPtr domain, DomainXml *ret_xml, GError **error);
/* Kills QEMU and waits for its end. TRUE also when there is no process, or libvirtd has to do it. */
gboolean vmm_kill_qemu(Vmm *vmm, const char *name, const Deadline *deadline, GError **error);

/* ---- vmm_devices.c ---- */

/* Gives a writable disk to the user of the VM's QEMU, who opens it. */
gboolean vmm_prepare_disk(Vmm *vmm, const VmmIdentity *user, const DiskSpec *disk, GError **error);
/* Makes the console file if it is missing, and gives it to the user of the VM's QEMU. */
gboolean vmm_prepare_console(Vmm *vmm, const VmmIdentity *user, const char *path, GError **error);
/* Removes the log of the domain's virtiofsd. */
void vmm_remove_share_log(Vmm *vmm, const char *name);
