#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Creates the user and group libvirt-qemu, which libvirt's QEMU driver requires before it reads its configuration, and makes
# the user a member of group kvm, to which udev gives /dev/kvm: QEMU runs as this user.
# (Debian's libvirt-daemon-system creates them too, but brings a daemon that crivirt does not need.)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=say.sh
. "$here/say.sh"

user=libvirt-qemu

is_complete() {
    getent passwd "$user" >/dev/null && getent group "$user" >/dev/null &&
        id -nG "$user" | tr ' ' '\n' | grep -qx kvm
}

if is_complete; then
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "the user $user is missing, or is not in group kvm, and only root can change that"
say "users: creating $user, a member of group kvm"
getent group "$user" >/dev/null || groupadd --system "$user"
getent group kvm >/dev/null || groupadd --system kvm
getent passwd "$user" >/dev/null ||
    useradd --system --gid "$user" --home-dir /var/lib/libvirt --no-create-home \
        --shell /usr/sbin/nologin --comment 'libvirt QEMU' "$user"
usermod --append --groups kvm "$user"
