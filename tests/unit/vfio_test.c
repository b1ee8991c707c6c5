/* SPDX-License-Identifier: Apache-2.0 */
/* Against a sysfs of our own: machines that run tests have no IOMMU. */
#include "sandbox/host/vfio.h"

#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

static void device_make(const char *sysfs, guint group, const char *name, const char *class,
                        const char *driver)
{
    g_autofree char *directory = g_strdup_printf("%s/kernel/iommu_groups/%u/devices/%s", sysfs, group, name);
    g_autofree char *link = g_build_filename(directory, "driver", NULL);
    g_autofree char *file = g_build_filename(directory, "class", NULL);
    g_autofree char *target = g_strdup_printf("../../bus/pci/drivers/%s", driver);

    CU_ASSERT_TRUE(dir_make(directory, 0755, NULL));
    CU_ASSERT_TRUE(g_file_set_contents(file, class, -1, NULL));
    if (driver != NULL)
        CU_ASSERT_EQUAL(symlink(target, link), 0);
}

static void finds_devices(void)
{
    g_autofree char *sysfs = test_directory();
    g_autoptr(GArray) devices = NULL;
    g_autoptr(GError) error = NULL;

    device_make(sysfs, 7, "0000:3b:00.1", "0x030000\n", "vfio-pci");
    device_make(sysfs, 7, "0000:3a:00.0", "0x060400\n", "pcieport");
    TEST_OK(vfio_group_find(sysfs, 7, &devices, &error), error);
    CU_ASSERT_EQUAL_FATAL(devices->len, 1);
    CU_ASSERT_EQUAL(g_array_index(devices, PciAddress, 0).bus, 0x3b);
    CU_ASSERT_EQUAL(g_array_index(devices, PciAddress, 0).function, 1);
}

static void says_what_is_wrong(void)
{
    g_autofree char *sysfs = test_directory();
    g_autofree char *groups = g_build_filename(sysfs, "kernel/iommu_groups", NULL);
    g_autoptr(GArray) devices = NULL;
    g_autoptr(GError) error = NULL;

    TEST_FAILS(vfio_group_find(sysfs, 7, &devices, &error), error, STATUS_FAILED_PRECONDITION,
               "no IOMMU groups");
    CU_ASSERT_TRUE(dir_make(groups, 0755, NULL));
    TEST_FAILS(vfio_group_find(sysfs, 7, &devices, &error), error, STATUS_FAILED_PRECONDITION,
               "no IOMMU groups");
    device_make(sysfs, 3, "0000:01:00.0", "0x020000\n", "e1000e");
    TEST_FAILS(vfio_group_find(sysfs, 7, &devices, &error), error, STATUS_FAILED_PRECONDITION,
               "no IOMMU group 7");
    TEST_FAILS(vfio_group_find(sysfs, 3, &devices, &error), error, STATUS_FAILED_PRECONDITION,
               "IOMMU group 3 through to a VM: its PCI device 0000:01:00.0 has the driver e1000e, and all "
               "devices of a group need vfio-pci");
    device_make(sysfs, 4, "0000:02:00.0", "0x020000\n", NULL);
    TEST_FAILS(vfio_group_find(sysfs, 4, &devices, &error), error, STATUS_FAILED_PRECONDITION,
               "driver (none)");
    device_make(sysfs, 5, "0000:02:01.0", "0x060400\n", "pcieport");
    TEST_FAILS(vfio_group_find(sysfs, 5, &devices, &error), error, STATUS_FAILED_PRECONDITION,
               "no PCI device");
}

static void parses_names(void)
{
    PciAddress address;
    guint group;

    CU_ASSERT_TRUE(pci_address_parse("00a1:ff:1f.7", &address));
    CU_ASSERT_EQUAL(address.domain, 0xa1);
    CU_ASSERT_EQUAL(address.slot, 0x1f);
    CU_ASSERT_FALSE(pci_address_parse("0000:00:20.0", &address));
    CU_ASSERT_FALSE(pci_address_parse("0000:00:00.8", &address));
    CU_ASSERT_FALSE(pci_address_parse("0000:00:00", &address));
    CU_ASSERT_FALSE(pci_address_parse("0000:00:00.0x", &address));
    CU_ASSERT_TRUE(vfio_path_parse("/dev/vfio/42", &group));
    CU_ASSERT_EQUAL(group, 42);
    CU_ASSERT_FALSE(vfio_path_parse("/dev/vfio/vfio", &group));
    CU_ASSERT_FALSE(vfio_path_parse("/dev/vfio/-1", &group));
    CU_ASSERT_FALSE(vfio_path_parse("/dev/null", &group));
}

int main(void)
{
    static const TestCase cases[] = {
        {"the devices of an IOMMU group are found, except bridges", finds_devices},
        {"a missing IOMMU, a missing group and another driver are reported", says_what_is_wrong},
        {"addresses of PCI devices and paths of groups are parsed", parses_names},
    };
    return test_main("vfio", cases, G_N_ELEMENTS(cases));
}
