#!/bin/bash
# Makes the user and group libvirt-qemu, which libvirt's QEMU driver wants to exist before it reads its configuration.
# (Debian's libvirt-daemon-system makes them too, but brings a daemon that crivirt does not need.)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=say.sh
. "$here/say.sh"

if getent passwd libvirt-qemu >/dev/null && getent group libvirt-qemu >/dev/null; then
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "the user libvirt-qemu is missing, and only root can make it"
say "users: making libvirt-qemu"
getent group libvirt-qemu >/dev/null || groupadd --system libvirt-qemu
getent passwd libvirt-qemu >/dev/null ||
    useradd --system --gid libvirt-qemu --home-dir /var/lib/libvirt --no-create-home \
        --shell /usr/sbin/nologin --comment 'libvirt QEMU' libvirt-qemu
