/* Which accelerator this node's guests get.
 *
 * /dev/kvm and libvirt's capabilities alone do not tell: there are machines where both offer KVM and no stock
 * guest boots. So three things must agree: the device opens and answers, the processor has the feature, and
 * the vendor's kernel module is there.
 */
#pragma once

#include <glib.h>

typedef struct {
    const char *architecture; /* of the node: "x86_64", "aarch64" */
    const char *device_error; /* NULL: /dev/kvm opened and made a VM; else why not */
    gboolean cpu_virtualizes; /* vmx or svm among the CPU flags; TRUE where there is no such flag */
    gboolean vendor_module;   /* kvm_intel or kvm_amd is there; TRUE where there is none */
} AcceleratorFacts;

/* Looks at this machine. device_error is static. */
AcceleratorFacts accelerator_look(void);

/* Pure. wish is "auto", "kvm" or "tcg"; *ret_reason is a sentence for Status, the caller's. INVALID_ARGUMENT
 * for another wish, FAILED_PRECONDITION when KVM is insisted on and not there. */
gboolean accelerator_choose(const char *wish, const AcceleratorFacts *facts, gboolean *ret_kvm,
                            char **ret_reason, GError **error);
