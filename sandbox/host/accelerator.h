/* Which accelerator this node's guests get.
 *
 * Neither /dev/kvm nor libvirt's capabilities are proof: there are nodes where both offer KVM and no stock
 * guest boots. So four things must agree: the device opens and creates a VM, the user that QEMU runs as may
 * open it too, the processor has the feature, and the vendor's kernel module is loaded.
 *
 * Any thread.
 */
#pragma once

#include <glib.h>

typedef struct {
    char *device_error;       /* NULL: /dev/kvm can be used, also by QEMU's user; else why not */
    gboolean cpu_virtualizes; /* vmx or svm among the CPU flags; TRUE where there is no such flag */
    gboolean vendor_module;   /* kvm_intel or kvm_amd is loaded; TRUE where there is none */
} AcceleratorFacts;

void accelerator_facts_clear(AcceleratorFacts *facts);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AcceleratorFacts, accelerator_facts_clear)

/* Of the node: "x86_64" or "aarch64". */
const char *accelerator_architecture(void);

/* Examines this node. user and group are those that QEMU runs as. Return: the caller clears it. */
AcceleratorFacts accelerator_look(const char *user, const char *group);

/* Opens device for reading and writing as that user, with that group and those that the user is a member of.
 * Return: NULL when it opens, when there is no such user or group (which is reported elsewhere), or when this
 * process may not act for another user; else the reason and the remedy, which the caller frees. */
char *accelerator_user_problem(const char *device, const char *user, const char *group);

/* Pure. wish is "auto", "kvm" or "tcg". *ret_reason is a sentence for Status, the caller's. INVALID_ARGUMENT
 * for another wish, FAILED_PRECONDITION when the wish is "kvm" and KVM cannot be used. */
gboolean accelerator_choose(const char *wish, const AcceleratorFacts *facts, gboolean *ret_kvm,
                            char **ret_reason, GError **error);
