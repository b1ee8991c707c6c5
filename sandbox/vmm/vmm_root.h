/* SPDX-License-Identifier: Apache-2.0 */
/* Prepares the directory of libvirt's embedded driver: writes its configuration, and removes what libvirt
 * must not find again. libvirt's layout below the root: etc/qemu.conf, run/qemu (status and files of process
 * ids), lib/qemu (monitor sockets), log/qemu, cache. Threads: any.
 */
#pragma once

#include "sandbox/vmm/vmm.h"

/* libvirt needs this account even where QEMU runs as another one. */
#define VMM_ROOT_LIBVIRT_USER "libvirt-qemu"

typedef struct {
    uid_t uid; /* of QEMU */
    gid_t gid;
} VmmIdentity;

/* Looks up the accounts. Errors: FAILED_PRECONDITION with the commands that make a missing account. */
gboolean vmm_root_identity(const char *user, const char *group, VmmIdentity *ret_identity, GError **error);

/* Makes the root, writes qemu.conf, and removes the status of domains that cannot live any more: of all
 * domains after a reboot, and of those whose process id now belongs to another process, which libvirt would
 * kill. */
gboolean vmm_root_prepare(const char *root, const VmmConfig *config, GError **error);

/* Makes QEMU's group the group of /dev/kvm where only root may open it, as on a node without udev (udev sets
 * the group kvm). Emulated VMs need this too: libvirt probes QEMU as root and checks the result as QEMU's
 * user; when the two differ, libvirt probes QEMU again before each start, which takes a second. */
void vmm_root_open_kvm(const VmmIdentity *identity);

/* Removes the directories of a domain that has ended. libvirt leaves them behind when the domain ended while
 * no daemon ran. */
void vmm_root_forget(const char *root, const char *name);

/* Return: the process id of the domain's QEMU; 0 when it does not run, or the id belongs to another process
 * by now. run_dir is where libvirt keeps its files of process ids. */
pid_t vmm_root_pid(const char *run_dir, const char *name);
