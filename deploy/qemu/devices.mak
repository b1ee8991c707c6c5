# SPDX-License-Identifier: Apache-2.0
# The devices in crivirt's QEMU: what sandbox/vmm/domain_xml.c gives to a VM. Kconfig adds what these are made of; nothing else is
# built (configure --without-default-devices).

# The machine, which brings what it cannot be built without: interrupt controllers, timers, ACPI, firmware's configuration,
# keyboard controller, floppy and SATA controllers (which no guest gets: sata=off), a serial port, vmgenid
CONFIG_Q35=y
CONFIG_PCIE_PORT=y

# Disks, the agent's channel, the network, free page reporting, pluggable memory
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_SCSI=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_BALLOON=y
CONFIG_VIRTIO_MEM=y

# Volumes, which virtiofsd serves
CONFIG_VHOST_USER_FS=y

# Devices of the node
CONFIG_VFIO_PCI=y
