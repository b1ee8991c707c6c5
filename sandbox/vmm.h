/* The hypervisor: every libvirt call of the daemon is in vmm.c, and nothing here knows of pods or containers.
 *
 * A domain is named by its sandbox id. Calls block for tens of milliseconds; any thread may make them.
 * Domains are transient and outlive the daemon: after vmm_open() those of the last run are found again by
 * vmm_list().
 */
#pragma once

#include "common/deadline.h"
#include "sandbox/domain_xml.h"

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
    VMM_STOPPED_CRASHED,   /* guest panic, or QEMU ended by itself or was killed */
} VmmStopReason;

typedef struct {
    char *name;
    gboolean running; /* else paused */
    pid_t pid;        /* QEMU's; 0 when unknown */
} VmmDomain;
void vmm_domain_free(VmmDomain *domain);

/* Called on the event thread: must not block and must not call the Vmm. */
typedef void (*VmmStoppedFunc)(const char *name, VmmStopReason reason, gpointer data);

/* Opens the connection, starts its event thread and the reaper of QEMU and virtiofsd children (the process
 * becomes a child subreaper), warms the capability cache. One per process and state_dir. */
Vmm *vmm_open(const VmmConfig *config, VmmStoppedFunc stopped, gpointer data, GError **error);
/* Leaves the domains running. */
void vmm_close(Vmm *vmm);

/* TRUE: hardware acceleration. ret_reason (owned by the Vmm) says in a sentence why or why not, for Status.
 */
gboolean vmm_uses_kvm(Vmm *vmm, const char **ret_reason);

/* Creates the domain paused, so that its tap can be moved before the guest runs. The domain's type follows
 * the accelerator; spec->accelerated is ignored. UNAVAILABLE/INTERNAL with libvirt's words and the end of
 * QEMU's log. */
gboolean vmm_create(Vmm *vmm, const DomainSpec *spec, const Deadline *deadline, GError **error);
gboolean vmm_resume(Vmm *vmm, const char *name, GError **error);
/* A domain that does not exist is success. Returns when QEMU is gone, or fails by the deadline. */
gboolean vmm_destroy(Vmm *vmm, const char *name, const Deadline *deadline, GError **error);
gboolean vmm_list(Vmm *vmm, GPtrArray **ret_domains, GError **error);

gboolean vmm_attach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, GError **error);
/* Attaching the virtiofs share later than at create: its virtiofsd is started by libvirt. */
gboolean vmm_attach_share(Vmm *vmm, const char *name, const ShareSpec *share, GError **error);
