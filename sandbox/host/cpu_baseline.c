/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/cpu_baseline.h"

#include "common/error.h"

typedef enum { NEED_V2 = 2, NEED_V3, NEED_V4, NEED_NODE, NEED_ALWAYS, NEED_SOFTWARE } Need;
enum { REGISTER_EAX, REGISTER_EBX, REGISTER_ECX, REGISTER_EDX };
enum { IS_MISSING, IS_EMULATED };

typedef struct {
    const char *name;
    Need need;
    gboolean emulated;
    guint32 leaf;
    guint32 subleaf;
    guint index; /* of the register */
    guint bit;
} Feature;

static const Feature features[] = {
#define CPU_FEATURE(name, need, emulated, leaf, subleaf, register, bit)                                      \
    {name, NEED_##need, IS_##emulated, leaf, subleaf, REGISTER_##register, bit},
#include "sandbox/host/cpu_features.def"
};

static const struct {
    const char *name;
    Need level;
} levels[] = {
    {"x86-64-v2", NEED_V2},
    {"x86-64-v3", NEED_V3},
    {"x86-64-v4", NEED_V4},
};

/* For each family the member that guests see. Of Intel's it is one that is known for all that its older and
 * newer relatives are (Meltdown, L1TF, MDS, MMIO stale data, RETBleed, GDS, ITS), and no register tells the
 * guest otherwise, because IA32_ARCH_CAPABILITIES is not there. AMD's families differ in how the kernel has
 * to return from functions (RETBleed, SRSO), so that none can stand for another. */
static const struct {
    const char *vendor;
    guint family;
    guint model;
    guint stepping;
} stand_ins[] = {
    {"GenuineIntel", 6, 85, 7},    /* Cascade Lake */
    {"AuthenticAMD", 0x15, 2, 0},  /* Piledriver */
    {"AuthenticAMD", 0x17, 1, 2},  /* Zen, for Zen 2 too */
    {"AuthenticAMD", 0x19, 1, 1},  /* Zen 3, for Zen 4 too */
    {"AuthenticAMD", 0x1a, 2, 1},  /* Zen 5 */
    {"AuthenticAMD", 0xf, 107, 1}, /* QEMU's own, which is emulated, and no node's */
};
enum { EMULATED_STAND_IN = G_N_ELEMENTS(stand_ins) - 1 };

void cpu_facts_clear(CpuFacts *facts)
{
    g_clear_pointer(&facts->leaves, g_array_unref);
}

gboolean cpu_baseline_is_known(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(levels); i++)
        if (g_str_equal(levels[i].name, name))
            return TRUE;
    return FALSE;
}

static gboolean node_has(const CpuFacts *facts, const Feature *feature)
{
    if (!facts->accelerated)
        return feature->emulated;
    for (guint i = 0; facts->leaves != NULL && i < facts->leaves->len; i++) {
        const CpuLeaf *leaf = &g_array_index(facts->leaves, CpuLeaf, i);

        if (leaf->leaf == feature->leaf && leaf->subleaf == feature->subleaf)
            return (leaf->registers[feature->index] >> feature->bit & 1) != 0;
    }
    return FALSE;
}

/* Return: whether guests of the level have the feature, or would have it if the node did (*ret_missing). */
static gboolean is_chosen(const Feature *feature, Need level, const CpuFacts *facts, gboolean *ret_missing)
{
    *ret_missing = FALSE;
    if (feature->need == NEED_NODE)
        return node_has(facts, feature);
    if (feature->need == NEED_ALWAYS)
        return facts->accelerated;
    if (feature->need == NEED_SOFTWARE ? !facts->accelerated : feature->need > level)
        return FALSE;
    *ret_missing = !node_has(facts, feature);
    return !*ret_missing;
}

static gboolean choose_features(CpuBaseline *baseline, Need level, const CpuFacts *facts, GError **error)
{
    g_autoptr(GString) missing = g_string_new(NULL);

    for (guint i = 0; i < G_N_ELEMENTS(features); i++) {
        const Feature *feature = &features[i];
        gboolean is_missing;

        if (is_chosen(feature, level, facts, &is_missing))
            g_ptr_array_add(feature->need == NEED_SOFTWARE ? baseline->software : baseline->features,
                            (gpointer)feature->name);
        if (is_missing)
            g_string_append_printf(missing, "%s%s", missing->len != 0 ? ", " : "", feature->name);
    }
    return missing->len == 0 ||
           fail(error, STATUS_FAILED_PRECONDITION, "%s needs features that %s does not have: %s",
                baseline->name, facts->accelerated ? "this node's processor with KVM" : "QEMU's emulation",
                missing->str);
}

static gboolean choose_stand_in(CpuBaseline *baseline, const CpuFacts *facts, GError **error)
{
    guint found = facts->accelerated ? 0 : EMULATED_STAND_IN;

    while (facts->accelerated && found < EMULATED_STAND_IN &&
           !(g_str_equal(stand_ins[found].vendor, facts->vendor) && stand_ins[found].family == facts->family))
        found++;
    if (facts->accelerated && found == EMULATED_STAND_IN)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "%s is not defined for processors of %s family %u: use \"" CPU_HOST "\"", baseline->name,
                    facts->vendor, facts->family);
    baseline->vendor = stand_ins[found].vendor;
    baseline->family = stand_ins[found].family;
    baseline->model = stand_ins[found].model;
    baseline->stepping = stand_ins[found].stepping;
    return TRUE;
}

/* The features that follow from the level are not listed. */
static char *describe(const CpuBaseline *baseline, const CpuFacts *facts)
{
    GString *text = g_string_new(baseline->name);

    if (facts->accelerated)
        g_string_append_printf(text, ", %s family %u", baseline->vendor, baseline->family);
    else
        g_string_append(text, ", emulated");
    g_string_append(text, ", with");
    for (guint i = 0; i < G_N_ELEMENTS(features); i++)
        if (features[i].need == NEED_NODE && node_has(facts, &features[i]))
            g_string_append_printf(text, " %s", features[i].name);
    return g_string_free(text, FALSE);
}

CpuBaseline *cpu_baseline_new(const char *name, const CpuFacts *facts, GError **error)
{
    g_autoptr(CpuBaseline) baseline = g_new0(CpuBaseline, 1);
    guint found = 0;

    while (found < G_N_ELEMENTS(levels) && !g_str_equal(levels[found].name, name))
        found++;
    if (found == G_N_ELEMENTS(levels)) {
        fail(error, STATUS_INVALID_ARGUMENT, "there is no processor \"%s\"", name);
        return NULL;
    }
    baseline->name = levels[found].name;
    baseline->features = g_ptr_array_new();
    baseline->software = g_ptr_array_new();
    if (!choose_stand_in(baseline, facts, error) ||
        !choose_features(baseline, levels[found].level, facts, error))
        return NULL;
    baseline->text = describe(baseline, facts);
    return g_steal_pointer(&baseline);
}

void cpu_baseline_free(CpuBaseline *baseline)
{
    if (baseline == NULL)
        return;
    g_clear_pointer(&baseline->features, g_ptr_array_unref);
    g_clear_pointer(&baseline->software, g_ptr_array_unref);
    g_free(baseline->text);
    g_free(baseline);
}
