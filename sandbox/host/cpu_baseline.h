/* SPDX-License-Identifier: Apache-2.0 */
/* Processors of guests that do not depend on the model of the node's (docs/cpu.md): the option cpu with
 * x86-64-v2, x86-64-v3 or x86-64-v4. Guests that were saved on one node can be restored on another.
 *
 * Such a processor has the features of cpu_features.def: those that the level requires, exactly, and those
 * that protect the guest, as far as the node has them. Vendor and family are the node's, because kernels
 * choose their mitigations by them; model and stepping are those of the member of the family that has most
 * errors, so that a guest's kernel chooses all mitigations that any node of the family needs. An emulated
 * processor is the same on every node.
 *
 * The functions are pure; cpu_node.h finds the facts of this node. Threads: any.
 */
#pragma once

#include <glib.h>

/* The value of the option that is not a baseline: all that the node's processor has, or, emulated, the
 * default. */
#define CPU_HOST "host"

enum { CPU_VENDOR_CHARS = 12 };

/* What CPUID reports: EAX, EBX, ECX, EDX. */
typedef struct {
    guint32 leaf;
    guint32 subleaf;
    guint32 registers[4];
} CpuLeaf;

typedef struct {
    gboolean accelerated; /* KVM; FALSE: emulation, for which the rest has no meaning */
    char vendor[CPU_VENDOR_CHARS + 1];
    guint family;
    GArray *leaves; /* CpuLeaf: what KVM can give to guests; NULL: nothing */
} CpuFacts;

void cpu_facts_clear(CpuFacts *facts);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CpuFacts, cpu_facts_clear)

/* Strings are static, but for text. */
typedef struct {
    const char *name;   /* of the level */
    const char *vendor; /* as CPUID reports it */
    guint family;
    guint model;
    guint stepping;
    GPtrArray *features; /* const char *: beyond those of every x86-64; names of libvirt */
    GPtrArray *software; /* const char *: names of QEMU that libvirt does not know */
    char *text;          /* tells it from every other processor, for people and for comparison */
} CpuBaseline;

/* Return: whether name is a baseline. */
gboolean cpu_baseline_is_known(const char *name);
/* Return: the baseline of that name for guests of such a node; NULL with INVALID_ARGUMENT when there is none
 * of that name, and FAILED_PRECONDITION, which names the features or the processor, when the node cannot have
 * it. The caller frees it. */
CpuBaseline *cpu_baseline_new(const char *name, const CpuFacts *facts, GError **error);
void cpu_baseline_free(CpuBaseline *baseline); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CpuBaseline, cpu_baseline_free)
