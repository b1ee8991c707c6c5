/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/vfio.h"

#include <stdio.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"

enum { CLASS_MAX_BYTES = 64, CLASS_SHIFT = 16, CLASS_BRIDGE = 0x06 };

#define DRIVER "vfio-pci"
#define DEVICE_PREFIX "/dev/vfio/"

static gboolean is_hexadecimal(const char *text, const char *pattern)
{
    for (; *pattern != '\0'; text++, pattern++)
        if (*pattern == 'x' ? !g_ascii_isxdigit(*text) : *text != *pattern)
            return FALSE;
    return *text == '\0';
}

gboolean pci_address_parse(const char *text, PciAddress *ret_address)
{
    PciAddress address;

    if (!is_hexadecimal(text, "xxxx:xx:xx.x"))
        return FALSE;
    address.domain = (guint)g_ascii_strtoull(text, NULL, 16);
    address.bus = (guint)g_ascii_strtoull(text + 5, NULL, 16);
    address.slot = (guint)g_ascii_strtoull(text + 8, NULL, 16);
    address.function = (guint)g_ascii_strtoull(text + 11, NULL, 16);
    if (address.slot > 0x1f || address.function > 7)
        return FALSE;
    *ret_address = address;
    return TRUE;
}

gboolean vfio_path_parse(const char *path, guint *ret_group)
{
    guint64 group;

    if (!g_str_has_prefix(path, DEVICE_PREFIX) ||
        !g_ascii_string_to_unsigned(path + strlen(DEVICE_PREFIX), 10, 0, G_MAXINT32, &group, NULL))
        return FALSE;
    *ret_group = (guint)group;
    return TRUE;
}

static gboolean is_empty(const char *directory)
{
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);

    return entries == NULL || g_dir_read_name(entries) == NULL;
}

static gboolean is_bridge(const char *device)
{
    g_autofree char *path = g_build_filename(device, "class", NULL);
    g_autofree char *text = NULL;

    return file_read(path, CLASS_MAX_BYTES, &text, NULL, NULL) &&
           g_ascii_strtoull(text, NULL, 16) >> CLASS_SHIFT == CLASS_BRIDGE;
}

static gboolean driver_check(const char *device, const char *name, guint group, GError **error)
{
    g_autofree char *link = g_build_filename(device, "driver", NULL);
    g_autofree char *target = g_file_read_link(link, NULL);
    g_autofree char *driver = target != NULL ? g_path_get_basename(target) : NULL;

    if (g_strcmp0(driver, DRIVER) == 0)
        return TRUE;
    return fail(error, STATUS_FAILED_PRECONDITION,
                "cannot pass IOMMU group %u through to a VM: its PCI device %s has the driver %s, and all "
                "devices of a "
                "group need " DRIVER,
                group, name, driver != NULL ? driver : "(none)");
}

static gboolean group_check(const char *sysfs, const char *directory, guint group, GError **error)
{
    g_autofree char *groups = g_build_filename(sysfs, "kernel/iommu_groups", NULL);

    if (is_empty(groups))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "cannot pass PCI devices through to VMs: the node has no IOMMU groups (enable the IOMMU "
                    "in the firmware, "
                    "and start the kernel with intel_iommu=on or amd_iommu=on)");
    if (!g_file_test(directory, G_FILE_TEST_IS_DIR))
        return fail(error, STATUS_FAILED_PRECONDITION, "the node has no IOMMU group %u", group);
    return TRUE;
}

gboolean vfio_group_find(const char *sysfs, guint group, GArray **ret_devices, GError **error)
{
    g_autofree char *directory = g_strdup_printf("%s/kernel/iommu_groups/%u/devices", sysfs, group);
    g_autoptr(GArray) devices = g_array_new(FALSE, FALSE, sizeof(PciAddress));
    g_autoptr(GDir) entries = NULL;
    const char *name;

    if (!group_check(sysfs, directory, group, error))
        return FALSE;
    entries = g_dir_open(directory, 0, NULL);
    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *device = g_build_filename(directory, name, NULL);
        PciAddress address;

        if (!pci_address_parse(name, &address) || is_bridge(device))
            continue;
        if (!driver_check(device, name, group, error))
            return FALSE;
        g_array_append_val(devices, address);
    }
    if (devices->len == 0)
        return fail(error, STATUS_FAILED_PRECONDITION, "IOMMU group %u has no PCI device", group);
    *ret_devices = g_steal_pointer(&devices);
    return TRUE;
}
