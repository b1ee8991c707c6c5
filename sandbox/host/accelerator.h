/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the accelerator of this node's VMs.
 *
 * Neither /dev/kvm nor libvirt's capabilities prove that KVM works: on some nodes both offer it, and no stock
 * kernel boots. So four things must agree: the device opens and creates a VM, the user that QEMU runs as may
 * open it too, the processor has the feature, and the vendor's kernel module is loaded.
 *
 * Threads: any.
 */
#pragma once

#include <glib.h>

#define ACCELERATOR_KVM_DEVICE "/dev/kvm"

typedef struct {
    char *device_error; /* NULL: QEMU's user can use /dev/kvm; else the reason why not */
    gboolean
        cpu_virtualizes;    /* vmx or svm is among the CPU flags; TRUE on architectures without such a flag */
    gboolean vendor_module; /* kvm_intel or kvm_amd is loaded; TRUE on architectures without such a module */
} AcceleratorFacts;

void accelerator_facts_clear(AcceleratorFacts *facts);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AcceleratorFacts, accelerator_facts_clear)

/* Return: the node's architecture, "x86_64" or "aarch64". */
const char *accelerator_architecture(void);

/* Examines this node. user and group are those that QEMU runs as. Return: the caller clears it. */
AcceleratorFacts accelerator_look(const char *user, const char *group);

/* Opens device for reading and writing as that user, with that group and those that the user is a member of.
 * Return: NULL when it opens, when there is no such user or group (which is reported elsewhere), or when this
 * process may not act for another user; else the reason and the remedy, which the caller frees. */
char *accelerator_user_problem(const char *device, const char *user, const char *group);

/* Pure. wish is "auto", "kvm" or "tcg". *ret_reason, which the caller frees, is a sentence for Status.
 * Errors: INVALID_ARGUMENT for another wish, FAILED_PRECONDITION when the wish is "kvm" and KVM cannot be
 * used. */
gboolean accelerator_choose(const char *wish, const AcceleratorFacts *facts, gboolean *ret_kvm,
                            char **ret_reason, GError **error);
