/* The directory of libvirt's embedded driver: its configuration, and what must go from it before libvirt
 * reads it again. Layout below the root (libvirt's own): etc/qemu.conf, run/qemu (status, pid files),
 * lib/qemu (monitor sockets), log/qemu, cache.
 */
#pragma once

#include "sandbox/vmm/vmm.h"

/* libvirt wants this account even where QEMU runs as another. */
#define VMM_ROOT_LIBVIRT_USER "libvirt-qemu"

typedef struct {
    uid_t uid; /* of QEMU */
    gid_t gid;
} VmmIdentity;

/* FAILED_PRECONDITION that tells how to make an account which is missing. */
gboolean vmm_root_identity(const char *user, const char *group, VmmIdentity *ret_identity, GError **error);

/* Makes the root, writes qemu.conf and drops the status of guests that cannot live any more: all of them
 * after a reboot, and those whose process id meanwhile belongs to somebody else, which libvirt would kill. */
gboolean vmm_root_prepare(const char *root, const VmmConfig *config, GError **error);

/* Gives /dev/kvm to QEMU's group where it is root's alone, as it is where no udev manages it (udev gives it
 * to the group kvm). This is not only for KVM itself: libvirt's probe of QEMU runs as root and its check runs
 * as QEMU's user; when they disagree, libvirt probes QEMU again before each start, which takes a second. */
void vmm_root_open_kvm(const VmmIdentity *identity);

/* Removes the directories that libvirt made for a domain that is gone; it leaves them where the guest died
 * while no daemon ran. */
void vmm_root_forget(const char *root, const char *name);

/* QEMU's process when it is alive and really this domain's, else 0. run_dir is where libvirt keeps pid files.
 */
pid_t vmm_root_pid(const char *run_dir, const char *name);
