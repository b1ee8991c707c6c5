/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/cpu_baseline.h"

#include <string.h>

#include "common/error.h"
#include "sandbox/host/cpu_node.h"
#include "tests/unit/harness.h"

enum { ALL = 0xffffffff, FMA = 1 << 12, LEAF_7_EBX_IBPB = 1 << 12, LEAF_7_AVX512BW = 1U << 30 };

static CpuFacts node(const char *vendor, guint family)
{
    static const CpuLeaf leaves[] = {
        {1, 0, {0, 0, ALL, ALL}},
        {7, 0, {0, ALL, ALL, 0}},
        {0xd, 1, {ALL, 0, 0, 0}},
        {0x80000001, 0, {0, 0, ALL, ALL}},
        {0x80000008, 0, {0, LEAF_7_EBX_IBPB, 0, 0}},
        {0x40000001, 0, {ALL, 0, 0, 0}},
    };
    CpuFacts facts = {.accelerated = TRUE, .family = family};

    g_strlcpy(facts.vendor, vendor, sizeof facts.vendor);
    facts.leaves = g_array_new(FALSE, FALSE, sizeof(CpuLeaf));
    g_array_append_vals(facts.leaves, leaves, G_N_ELEMENTS(leaves));
    return facts;
}

static CpuLeaf *leaf_of(const CpuFacts *facts, guint32 number)
{
    for (guint i = 0; i < facts->leaves->len; i++)
        if (g_array_index(facts->leaves, CpuLeaf, i).leaf == number)
            return &g_array_index(facts->leaves, CpuLeaf, i);
    return NULL;
}

static gboolean has(const GPtrArray *names, const char *name)
{
    return g_ptr_array_find_with_equal_func((GPtrArray *)names, name, g_str_equal, NULL);
}

static void levels_add_up(void)
{
    g_auto(CpuFacts) facts = node("AuthenticAMD", 0x17);
    g_autoptr(CpuBaseline) v2 = cpu_baseline_new("x86-64-v2", &facts, NULL);
    g_autoptr(CpuBaseline) v3 = cpu_baseline_new("x86-64-v3", &facts, NULL);
    g_autoptr(CpuBaseline) v4 = cpu_baseline_new("x86-64-v4", &facts, NULL);

    CU_ASSERT_TRUE_FATAL(v2 != NULL && v3 != NULL && v4 != NULL);
    CU_ASSERT_TRUE(has(v2->features, "popcnt"));
    CU_ASSERT_FALSE(has(v2->features, "avx2"));
    CU_ASSERT_TRUE(has(v3->features, "popcnt"));
    CU_ASSERT_TRUE(has(v3->features, "avx2"));
    CU_ASSERT_FALSE(has(v3->features, "avx512f"));
    CU_ASSERT_TRUE(has(v4->features, "avx2"));
    CU_ASSERT_TRUE(has(v4->features, "avx512f"));
    CU_ASSERT_TRUE(has(v2->features, "x2apic"));
    CU_ASSERT_TRUE(has(v2->software, "kvm-pv-unhalt"));
}

static void names_what_is_missing(void)
{
    g_auto(CpuFacts) facts = node("AuthenticAMD", 0x17);
    g_autoptr(GError) three = NULL;
    g_autoptr(GError) four = NULL;

    leaf_of(&facts, 1)->registers[2] &= ~(guint32)FMA;
    leaf_of(&facts, 7)->registers[1] &= ~(guint32)LEAF_7_AVX512BW;
    TEST_FAILS(cpu_baseline_new("x86-64-v3", &facts, &three) != NULL, three, STATUS_FAILED_PRECONDITION,
               "not have: fma");
    TEST_FAILS(cpu_baseline_new("x86-64-v4", &facts, &four) != NULL, four, STATUS_FAILED_PRECONDITION,
               "not have: fma, avx512bw");
}

/* Kernels choose their mitigations by what they see of these. */
static void protections_are_the_nodes(void)
{
    g_auto(CpuFacts) facts = node("AuthenticAMD", 0x19);
    g_auto(CpuFacts) other = node("AuthenticAMD", 0x19);
    g_autoptr(CpuBaseline) with = cpu_baseline_new("x86-64-v2", &facts, NULL);
    g_autoptr(CpuBaseline) without = NULL;

    leaf_of(&other, 0x80000008)->registers[1] = 0;
    without = cpu_baseline_new("x86-64-v2", &other, NULL);
    CU_ASSERT_TRUE_FATAL(with != NULL && without != NULL);
    CU_ASSERT_TRUE(has(with->features, "ibpb"));
    CU_ASSERT_FALSE(has(without->features, "ibpb"));
    CU_ASSERT_PTR_NOT_NULL(strstr(with->text, "ibpb"));
    CU_ASSERT_STRING_NOT_EQUAL(with->text, without->text);
}

static void same_for_a_family(void)
{
    g_auto(CpuFacts) facts = node("AuthenticAMD", 0x17);
    g_auto(CpuFacts) other = node("AuthenticAMD", 0x19);
    g_auto(CpuFacts) richer = node("AuthenticAMD", 0x17);
    g_auto(CpuFacts) intel = node("GenuineIntel", 6);
    g_autoptr(CpuBaseline) one = cpu_baseline_new("x86-64-v3", &facts, NULL);
    g_autoptr(CpuBaseline) second = NULL;
    g_autoptr(CpuBaseline) third = cpu_baseline_new("x86-64-v3", &other, NULL);
    g_autoptr(CpuBaseline) fourth = cpu_baseline_new("x86-64-v3", &intel, NULL);

    leaf_of(&facts, 0xd)->registers[0] = 1; /* features that no level has */
    second = cpu_baseline_new("x86-64-v3", &richer, NULL);
    CU_ASSERT_TRUE_FATAL(one != NULL && second != NULL && third != NULL && fourth != NULL);
    CU_ASSERT_STRING_EQUAL(one->text, second->text);
    CU_ASSERT_EQUAL(one->model, second->model);
    CU_ASSERT_EQUAL(one->features->len, second->features->len);
    CU_ASSERT_STRING_NOT_EQUAL(one->text, third->text);
    CU_ASSERT_STRING_NOT_EQUAL(one->text, fourth->text);
    CU_ASSERT_STRING_EQUAL(fourth->vendor, "GenuineIntel");
}

static void refuses_other_processors(void)
{
    g_auto(CpuFacts) facts = node("CentaurHauls", 7);
    g_auto(CpuFacts) amd = node("AuthenticAMD", 0xf);
    g_autoptr(GError) vendor = NULL;
    g_autoptr(GError) family = NULL;
    g_autoptr(GError) name = NULL;

    TEST_FAILS(cpu_baseline_new("x86-64-v2", &facts, &vendor) != NULL, vendor, STATUS_FAILED_PRECONDITION,
               "CentaurHauls family 7");
    TEST_FAILS(cpu_baseline_new("x86-64-v2", &amd, &family) != NULL, family, STATUS_FAILED_PRECONDITION,
               "AuthenticAMD family 15");
    TEST_FAILS(cpu_baseline_new("x86-64-v9", &facts, &name) != NULL, name, STATUS_INVALID_ARGUMENT,
               "x86-64-v9");
    CU_ASSERT_FALSE(cpu_baseline_is_known(CPU_HOST));
    CU_ASSERT_TRUE(cpu_baseline_is_known("x86-64-v4"));
}

static void emulation_has_three(void)
{
    const CpuFacts emulated = {0};
    g_autoptr(CpuBaseline) baseline = cpu_baseline_new("x86-64-v3", &emulated, NULL);
    g_autoptr(GError) error = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(baseline);
    CU_ASSERT_TRUE(has(baseline->features, "avx2"));
    CU_ASSERT_FALSE(has(baseline->features, "x2apic"));
    CU_ASSERT_EQUAL(baseline->software->len, 0);
    CU_ASSERT_STRING_EQUAL(baseline->text, "x86-64-v3, emulated, with rdrand smep smap umip");
    TEST_FAILS(cpu_baseline_new("x86-64-v4", &emulated, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "QEMU's emulation does not have: avx512f, avx512bw, avx512cd, avx512dq, avx512vl");
}

#if defined(__x86_64__)
static void this_node(void)
{
    const CpuBaseline *baseline = NULL;
    const CpuBaseline *again = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(cpu_node_baseline("x86-64-v2", FALSE, &baseline, &error), error);
    CU_ASSERT_TRUE(cpu_node_baseline("x86-64-v2", FALSE, &again, NULL));
    CU_ASSERT_PTR_EQUAL(baseline, again);
    CU_ASSERT_TRUE(cpu_node_baseline(CPU_HOST, FALSE, &again, NULL));
    CU_ASSERT_PTR_NULL(again);
}
#else
static void this_node(void)
{
    const CpuBaseline *baseline;
    g_autoptr(GError) error = NULL;

    TEST_FAILS(cpu_node_baseline("x86-64-v2", FALSE, &baseline, &error), error, STATUS_INVALID_ARGUMENT,
               "not x86-64");
}
#endif

int main(void)
{
    static const TestCase cases[] = {
        {"a level has what it requires and what lower levels have, and no more", levels_add_up},
        {"a node that lacks features is refused by their names", names_what_is_missing},
        {"what protects a guest follows the node, and tells processors apart", protections_are_the_nodes},
        {"two processors of one family are one, those of others are not", same_for_a_family},
        {"processors and levels that are not known are refused by name", refuses_other_processors},
        {"emulation has the levels that QEMU 7.2 has", emulation_has_three},
        {"this node has a baseline where guests are x86-64", this_node},
    };

    return test_main("cpu_baseline", cases, G_N_ELEMENTS(cases));
}
