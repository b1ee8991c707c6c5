/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/cpu_node.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/error.h"
#include "sandbox/host/accelerator.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum { MAX_ENTRIES = 256 };

/* The vendor is in EBX, EDX, ECX of leaf 0; the family in EAX of leaf 1 (Intel SDM, volume 2, CPUID). */
static gboolean look_at_processor(CpuFacts *facts)
{
    guint32 eax;
    guint32 vendor[3];
    guint32 ignored;

    if (!__get_cpuid(0, &eax, &vendor[0], &vendor[2], &vendor[1]))
        return FALSE;
    memcpy(facts->vendor, vendor, CPU_VENDOR_CHARS);
    if (!__get_cpuid(1, &eax, &ignored, &ignored, &ignored))
        return FALSE;
    facts->family = eax >> 8 & 0xf;
    if (facts->family == 0xf)
        facts->family += eax >> 20 & 0xff;
    return TRUE;
}

static gboolean look_at_kvm(CpuFacts *facts, GError **error)
{
    g_autofree struct kvm_cpuid2 *supported =
        g_malloc0(sizeof *supported + MAX_ENTRIES * sizeof supported->entries[0]);
    int kvm = open(ACCELERATOR_KVM_DEVICE, O_RDWR | O_CLOEXEC);
    gboolean good;

    supported->nent = MAX_ENTRIES;
    good = kvm >= 0 && ioctl(kvm, KVM_GET_SUPPORTED_CPUID, supported) == 0;
    if (!good)
        fail(error, STATUS_UNAVAILABLE, "KVM does not report the features of its processors: %s",
             g_strerror(errno));
    if (kvm >= 0)
        close(kvm);
    facts->leaves = g_array_new(FALSE, FALSE, sizeof(CpuLeaf));
    for (guint i = 0; good && i < supported->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &supported->entries[i];
        const CpuLeaf leaf = {
            entry->function, entry->index, {entry->eax, entry->ebx, entry->ecx, entry->edx}};

        g_array_append_val(facts->leaves, leaf);
    }
    return good;
}

static gboolean look(gboolean accelerated, CpuFacts *ret_facts, GError **error)
{
    g_auto(CpuFacts) facts = {.accelerated = accelerated};

    if (accelerated && !look_at_kvm(&facts, error))
        return FALSE;
    if (accelerated && !look_at_processor(&facts))
        return fail(error, STATUS_UNAVAILABLE, "the node's processor does not report what it is");
    *ret_facts = facts;
    facts.leaves = NULL;
    return TRUE;
}

/* KVM knows the rate of a virtual processor only. */
static CpuTimeStamp measure(void)
{
    CpuTimeStamp stamp = {0};
    int kvm = open(ACCELERATOR_KVM_DEVICE, O_RDWR | O_CLOEXEC);
    int vm = kvm >= 0 ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;
    int vcpu = vm >= 0 ? ioctl(vm, KVM_CREATE_VCPU, 0) : -1;
    int khz = vcpu >= 0 ? ioctl(vcpu, KVM_GET_TSC_KHZ) : -1;

    if (khz > 0)
        stamp = (CpuTimeStamp){(guint)khz, ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0};
    if (vcpu >= 0)
        close(vcpu);
    if (vm >= 0)
        close(vm);
    if (kvm >= 0)
        close(kvm);
    return stamp;
}
#else
static gboolean look(gboolean accelerated, CpuFacts *ret_facts, GError **error)
{
    (void)accelerated;
    (void)ret_facts;
    return fail(error, STATUS_INVALID_ARGUMENT,
                "this node is not x86-64, and there the only processor of guests is \"" CPU_HOST "\"");
}

static CpuTimeStamp measure(void)
{
    return (CpuTimeStamp){0};
}
#endif

/* ---- once in a process ---- */

/* Failures are not kept: KVM may be there later. */
static const CpuBaseline *find_locked(const char *name, gboolean accelerated, GError **error)
{
    static GPtrArray *known[2]; /* CpuBaseline, by accelerated */
    GPtrArray **here = &known[accelerated != FALSE];
    g_auto(CpuFacts) facts = {0};
    CpuBaseline *baseline;

    if (*here == NULL)
        *here = g_ptr_array_new();
    for (guint i = 0; i < (*here)->len; i++)
        if (g_str_equal(((const CpuBaseline *)(*here)->pdata[i])->name, name))
            return (*here)->pdata[i];
    if (!look(accelerated, &facts, error))
        return NULL;
    baseline = cpu_baseline_new(name, &facts, error);
    if (baseline != NULL)
        g_ptr_array_add(*here, baseline);
    return baseline;
}

gboolean cpu_node_baseline(const char *name, gboolean accelerated, const CpuBaseline **ret_baseline,
                           GError **error)
{
    static GMutex lock;
    const CpuBaseline *baseline;

    if (name == NULL || g_str_equal(name, CPU_HOST)) {
        *ret_baseline = NULL;
        return TRUE;
    }
    g_mutex_lock(&lock);
    baseline = find_locked(name, accelerated, error);
    g_mutex_unlock(&lock);
    if (baseline == NULL)
        return FALSE;
    *ret_baseline = baseline;
    return TRUE;
}

CpuTimeStamp cpu_node_time_stamp(void)
{
    static gsize is_known;
    static CpuTimeStamp stamp;

    if (g_once_init_enter(&is_known)) {
        stamp = measure();
        g_once_init_leave(&is_known, 1);
    }
    return stamp;
}
