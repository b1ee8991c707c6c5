/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/accelerator.h"

#include <glib/gstdio.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static const AcceleratorFacts good = {NULL, TRUE, TRUE};
static const AcceleratorFacts no_device = {(char *)"/dev/kvm does not exist", TRUE, TRUE};
static const AcceleratorFacts no_flag = {NULL, FALSE, TRUE};
static const AcceleratorFacts no_module = {NULL, TRUE, FALSE};

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
    g_auto(AcceleratorFacts) facts = accelerator_look("root", "root");
    g_autofree char *reason = NULL;
    gboolean kvm;

    CU_ASSERT_TRUE(accelerator_choose("auto", &facts, &kvm, &reason, NULL));
}

/* A file with the modes that udev gives to /dev/kvm; the account nobody is in no group of root's. */
static void device_of_a_group(void)
{
    g_autofree char *directory = g_dir_make_tmp("accelerator-XXXXXX", NULL);
    g_autofree char *device = g_build_filename(directory, "kvm", NULL);
    g_autofree char *problem = NULL;
    const struct group *owner = getgrnam("disk");

    gid_t gid;

    if (geteuid() != 0 || owner == NULL)
        return;
    gid = owner->gr_gid;
    CU_ASSERT_TRUE(g_file_set_contents(device, "", 0, NULL));
    CU_ASSERT_EQUAL(chmod(directory, 0755), 0);
    CU_ASSERT_EQUAL(chown(device, 0, gid), 0);
    CU_ASSERT_EQUAL(chmod(device, 0660), 0);
    problem = accelerator_user_problem(device, "nobody", "nogroup");
    CU_ASSERT_PTR_NOT_NULL_FATAL(problem);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem, "as user nobody: add it to group disk"));
    CU_ASSERT_PTR_NULL(accelerator_user_problem(device, "nobody", "disk"));
    CU_ASSERT_PTR_NULL(accelerator_user_problem(device, "root", "root"));
    CU_ASSERT_EQUAL(geteuid(), 0);

    CU_ASSERT_EQUAL(chmod(device, 0600), 0);
    g_free(problem);
    problem = accelerator_user_problem(device, "nobody", "nogroup");
    CU_ASSERT_PTR_NOT_NULL_FATAL(problem);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem, "as user nobody: Permission denied"));
    g_unlink(device);
    g_rmdir(directory);
}

static void unusable_by_qemu(void)
{
    static const AcceleratorFacts not_for_qemu = {
        (char *)"cannot open /dev/kvm as user libvirt-qemu: add it to group kvm", TRUE, TRUE};

    check("auto", &not_for_qemu, FALSE, "add it to group kvm");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"KVM needs the device, the CPU's feature and the module", all_three},
        {"without one of them the VM is emulated, and the reason says which one is missing", one_missing},
        {"a required KVM that is missing is an error, as is an unknown accelerator", insisted},
        {"emulation can be chosen", chosen_emulation},
        {"this node is examined", this_machine},
        {"a device that QEMU's user may not open is named with the group that may", device_of_a_group},
        {"KVM that QEMU's user may not open is not used, and the reason names the group", unusable_by_qemu},
    };
    return test_main_args("accelerator", cases, G_N_ELEMENTS(cases), argc, argv);
}
