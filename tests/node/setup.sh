#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What Debian's packages leave open on the tests' node, in the folder that becomes its disk:  setup.sh ROOT KEY.pub
# (called by image.sh as a hook of mmdebstrap).
set -euo pipefail
root=$1
key=$2

# The network of QEMU's user mode: DHCP, whatever the interface's name is.
cat >"$root/etc/systemd/network/80-node.network" <<'END'
[Match]
Name=en* eth*
[Network]
DHCP=ipv4
END
echo node >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 node\n' >"$root/etc/hosts"
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"

install -d -m 700 "$root/root/.ssh"
install -m 600 "$key" "$root/root/.ssh/authorized_keys"

# The journal survives a reboot, and tells of the boot before it.
mkdir -p "$root/var/log/journal"

# KVM's module is loaded by the processor's name on a real node, by udev; emulated AMD processors have an alias as well.
# What does nothing for a test costs emulated minutes.
chroot "$root" systemctl enable systemd-networkd.service ssh.service
chroot "$root" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-timesyncd.service getty@tty1.service

# An initramfs of the few modules that find this disk: half a minute less of unpacking.
echo 'MODULES=list' >"$root/etc/initramfs-tools/conf.d/node"
printf '%s\n' virtio_pci virtio_blk ext4 >>"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u
