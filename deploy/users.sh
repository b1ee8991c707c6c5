#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Creates the user and group libvirt-qemu, which libvirt's QEMU driver requires before it reads its configuration, and makes
# the user a member of group kvm, to which udev gives /dev/kvm: QEMU runs as this user.
# (Debian's libvirt-daemon-system creates them too, but brings a daemon that crivirt does not need.)
# On a node without useradd the lines are appended to the files in /etc. Any POSIX shell runs this, such as busybox's.
set -eu

user=libvirt-qemu
home=/var/lib/libvirt
shell=/usr/sbin/nologin

fail() {
    printf 'users.sh: error: %s\n' "$*" >&2
    exit 1
}

# look passwd|group NAME: the entry
look() {
    if command -v getent >/dev/null; then
        getent "$1" "$2"
    else
        grep "^$2:" "/etc/$1" 2>/dev/null
    fi
}

is_member() { look group "$1" | cut -d : -f 4 | tr , '\n' | grep -qx "$user"; }

is_complete() { look passwd "$user" >/dev/null && look group "$user" >/dev/null && is_member kvm; }

# ---- with the node's tools ----

make_by_tools() {
    look group "$user" >/dev/null || groupadd --system "$user"
    look group kvm >/dev/null || groupadd --system kvm
    look passwd "$user" >/dev/null ||
        useradd --system --gid "$user" --home-dir "$home" --no-create-home --shell "$shell" --comment 'libvirt QEMU' "$user"
    usermod --append --groups kvm "$user"
}

# ---- without them ----

# The highest number below 1000 that neither a user nor a group has.
free_number() {
    number=999
    while cut -d : -f 3 /etc/passwd /etc/group | grep -qx "$number"; do
        number=$((number - 1))
    done
    echo "$number"
}

# A file is replaced as a whole, so that nobody reads half of it.
change() { # FILE SED_EXPRESSION LINE
    sed "$2" "$1" >"$1.crivirt"
    [ -z "$3" ] || printf '%s\n' "$3" >>"$1.crivirt"
    mv "$1.crivirt" "$1"
}

make_by_hand() {
    umask 022
    touch /etc/passwd /etc/group
    look group "$user" >/dev/null || change /etc/group '' "$user:x:$(free_number):"
    look group kvm >/dev/null || change /etc/group '' "kvm:x:$(free_number):"
    if ! look passwd "$user" >/dev/null; then
        group=$(look group "$user" | cut -d : -f 3)
        number=$group
        ! cut -d : -f 3 /etc/passwd | grep -qx "$number" || number=$(free_number)
        change /etc/passwd '' "$user:x:$number:$group:libvirt QEMU:$home:$shell"
    fi
    is_member kvm || change /etc/group "s/^kvm:.*[^:]\$/&,$user/; s/^kvm:.*:\$/&$user/" ''
}

! is_complete || exit 0
[ "$(id -u)" = 0 ] || fail "the user $user is missing, or is not in group kvm, and only root can change that"
printf '==> users: creating %s, a member of group kvm\n' "$user" >&2
if command -v useradd >/dev/null && command -v groupadd >/dev/null; then
    make_by_tools
else
    mkdir -p /etc
    make_by_hand
fi
is_complete || fail "the user $user, a member of group kvm, could not be created: /etc is managed by something else"
