/* PCI devices of the node that a container asks for by their IOMMU group, /dev/vfio/NUMBER: the guest gets
 * all of the group's devices and keeps them until it ends; its own drivers make of them what they make. */
#pragma once

#include "sandbox/pods/pod.h"

/* Plugs them in, unless they are. Devices that are no such thing are left alone. */
gboolean container_vfio_attach(Container *container, const Deadline *deadline, GError **error);
