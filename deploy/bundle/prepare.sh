#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Does on the node, before crivirtd of a bundle starts, what a package's scripts and its files in /usr/lib do: the user that QEMU
# runs as, kernel modules, sysctls. The bundle's unit runs it by the bundle's busybox, because a node may have no shell:
#   busybox sh prepare.sh
# What fails here is a warning: crivirtd reports what it cannot do without.
set -u
here=$(dirname "$(readlink -f "$0")")
share=$here/../../share/crivirt

warn() { printf '<4>%s\n' "$*" >&2; } # a warning in the journal

# busybox cannot read the compressed modules of each distribution, so the node's own program loads them.
modprobe=modprobe
for file in /sbin/modprobe /usr/sbin/modprobe /usr/bin/modprobe; do
    [ ! -x "$file" ] || modprobe=$file
done

# A value that the administrator has set in /etc/sysctl.d has been applied at boot, and is kept.
set_sysctl() { # KEY VALUE
    path=/proc/sys/$(printf '%s' "$1" | tr . /)
    grep -rqs "^ *$1 *=" /etc/sysctl.d /etc/sysctl.conf && return
    [ "$(cat "$path" 2>/dev/null)" = "$2" ] || echo "$2" >"$path" || warn "cannot set $1 to $2"
}

sh "$here/users.sh" || warn "the user that QEMU runs as is missing"
sed -n 's/^\([a-z0-9_]\{1,\}\)$/\1/p' "$share/modules-load.conf" | while read -r module; do
    "$modprobe" -q "$module" || [ -d "/sys/module/$module" ] || warn "the kernel module $module cannot be loaded"
done
sed -n 's/^\([a-z0-9_.-]\{1,\}\) *= *\([0-9]\{1,\}\)$/\1 \2/p' "$share/sysctl.conf" | while read -r key value; do
    set_sysctl "$key" "$value"
done
MODPROBE=$modprobe sh "$here/load-kvm.sh"
exit 0
