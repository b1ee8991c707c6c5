/* SPDX-License-Identifier: Apache-2.0 */
/* PCI devices of the node that a container asks for by their IOMMU group (/dev/vfio/NUMBER). The guest gets
 * all devices of the group and keeps them until it ends. The drivers for them are the guest's. */
#pragma once

#include "sandbox/pods/pod.h"

/* Attaches the IOMMU groups among the container's devices to the VM, unless they are attached already. Other
 * devices are ignored, and host pods need nothing attached. */
gboolean container_vfio_attach(Container *container, const Deadline *deadline, GError **error);
