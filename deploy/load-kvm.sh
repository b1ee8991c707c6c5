#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Before crivirtd starts: loads the processor's KVM module and waits until udev has given /dev/kvm to its group. udev does both
# at some time during boot, and a daemon that starts earlier would emulate all its VMs. A node without KVM loses no time.
# MODPROBE is another program than modprobe.
modprobe=${MODPROBE:-modprobe}
"$modprobe" -q kvm_intel 2>/dev/null || "$modprobe" -q kvm_amd 2>/dev/null
if [ -e /dev/kvm ] && command -v udevadm >/dev/null; then
    udevadm wait --timeout=30 /dev/kvm
fi
exit 0
