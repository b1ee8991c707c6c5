/* SPDX-License-Identifier: Apache-2.0 */
/* PCI devices of the node that a container asks for by their IOMMU group, /dev/vfio/NUMBER: the guest gets
 * all devices of the group, keeps them until it ends, and has the drivers for them. */
#pragma once

#include "sandbox/pods/pod.h"

/* Plugs in the devices that are not plugged in yet. Devices of other kinds are ignored. */
gboolean container_vfio_attach(Container *container, const Deadline *deadline, GError **error);
