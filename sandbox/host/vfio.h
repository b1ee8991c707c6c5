/* PCI devices of the node that a guest may have: IOMMU groups under the driver vfio-pci
 * (https://docs.kernel.org/driver-api/vfio.html). */
#pragma once

#include <glib.h>

typedef struct {
    guint domain, bus, slot, function;
} PciAddress;

/* "0000:3b:00.1". */
gboolean pci_address_parse(const char *text, PciAddress *ret_address);

/* The group that /dev/vfio/NUMBER stands for. FALSE: the path is no such device. */
gboolean vfio_path_parse(const char *path, guint *ret_group);

/* The devices of a group (GArray of PciAddress; without bridges, which stay with the node). sysfs: "/sys" but
 * in tests. FAILED_PRECONDITION: the node has no IOMMU, or no such group, or a device of it has another
 * driver, by name. */
gboolean vfio_group_find(const char *sysfs, guint group, GArray **ret_devices, GError **error);
