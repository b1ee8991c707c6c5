#include "sandbox/accelerator.h"

#include <string.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static const AcceleratorFacts good = {"x86_64", NULL, TRUE, TRUE};
static const AcceleratorFacts no_device = {"x86_64", "/dev/kvm does not exist", TRUE, TRUE};
static const AcceleratorFacts no_flag = {"x86_64", NULL, FALSE, TRUE};
static const AcceleratorFacts no_module = {"x86_64", NULL, TRUE, FALSE};

static void check(const char *wish, const AcceleratorFacts *facts, gboolean wanted, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *reason = NULL;
    gboolean kvm = !wanted;

    TEST_OK(accelerator_choose(wish, facts, &kvm, &reason, &error), error);
    CU_ASSERT_EQUAL(kvm, wanted);
    CU_ASSERT_PTR_NOT_NULL_FATAL(reason);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, word));
}

static void all_three(void)
{
    check("auto", &good, TRUE, "KVM");
    check("kvm", &good, TRUE, "KVM");
}

static void one_missing(void)
{
    check("auto", &no_device, FALSE, "/dev/kvm does not exist");
    check("auto", &no_flag, FALSE, "vmx");
    check("auto", &no_module, FALSE, "kvm_intel");
}

static void insisted(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *reason = NULL;
    gboolean kvm;

    TEST_FAILS(accelerator_choose("kvm", &no_device, &kvm, &reason, &error), error,
               STATUS_FAILED_PRECONDITION, "/dev/kvm does not exist");
    TEST_FAILS(accelerator_choose("xen", &good, &kvm, &reason, &error), error, STATUS_INVALID_ARGUMENT,
               "xen");
    CU_ASSERT_PTR_NULL(reason);
}

static void chosen_emulation(void)
{
    check("tcg", &good, FALSE, "configuration");
}

static void this_machine(void)
{
    AcceleratorFacts facts = accelerator_look();
    g_autofree char *reason = NULL;
    gboolean kvm;

    CU_ASSERT_TRUE(accelerator_choose("auto", &facts, &kvm, &reason, NULL));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"KVM needs the device, the processor's feature and the module", all_three},
        {"without one of them the guest is emulated, and the reason says which", one_missing},
        {"KVM that is insisted on and missing is an error, as is an unknown wish", insisted},
        {"emulation can be chosen", chosen_emulation},
        {"this machine can be looked at", this_machine},
    };
    return test_main_args("accelerator", cases, G_N_ELEMENTS(cases), argc, argv);
}
