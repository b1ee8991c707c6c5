/* SPDX-License-Identifier: Apache-2.0 */
/* PCI devices of the node that can be passed through to a VM: IOMMU groups with the driver vfio-pci
 * (https://docs.kernel.org/driver-api/vfio.html). Threads: any. */
#pragma once

#include <glib.h>

typedef struct {
    guint domain, bus, slot, function;
} PciAddress;

/* Reads an address such as "0000:3b:00.1". */
gboolean pci_address_parse(const char *text, PciAddress *ret_address);

/* Reads the group from a path /dev/vfio/NUMBER. Return: FALSE for another path. */
gboolean vfio_path_parse(const char *path, guint *ret_group);

/* Finds the devices of a group: a GArray of PciAddress, which the caller frees, without bridges, which stay
 * with the node. sysfs: "/sys" except in tests. Errors: FAILED_PRECONDITION when the node has no IOMMU or no
 * such group, or a device of the group has another driver, which is named. */
gboolean vfio_group_find(const char *sysfs, guint group, GArray **ret_devices, GError **error);
