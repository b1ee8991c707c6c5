#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the disk of the node on which tests/node runs: Debian 12 as on a real node (systemd, cgroup v2, Debian's kernel,
# an SSH server), with the packages that crivirt's package depends on, so that it installs without a network.
#   image.sh [GROUP…]      with the packages of these groups of deploy/packages as well
# Prints a directory of the cache: disk.img, vmlinuz, initrd.img, and key, which logs in as root.
# Nothing here is crivirt's own: the package under test must bring that.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../../deploy/say.sh
. "$here/../../deploy/say.sh"
# shellcheck source=../../kernel/cache.sh
. "$here/../../kernel/cache.sh"
need mmdebstrap mmdebstrap mke2fs e2fsprogs ssh-keygen openssh-client

mirror=${CRIVIRT_DEBIAN_MIRROR:-http://deb.debian.org}
disk_size=16G # sparse
mapfile -t packages < <("$here/../../deploy/packages.sh" --list runtime nodevm "$@")

# Old entries are the same node with older packages; a changed list or script makes a new one.
entry=$(cache_entry node "$0" "$here/setup.sh" "${packages[@]}")
if [ -d "$entry" ]; then
    say "node image: $entry"
    printf '%s\n' "$entry"
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "only root can make the node's image"

mkdir -p "$CRIVIRT_CACHE"
exec 9>"$CRIVIRT_CACHE/node.lock"
flock -n 9 || { say "waiting for another build of the node image" && flock 9; }
if [ ! -d "$entry" ]; then
    say "node image: installing Debian 12 into a folder (some minutes)"
    work=$(mktemp -d "$CRIVIRT_CACHE/node-XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT
    chmod 755 "$work" # mmdebstrap's apt downloads as its own user
    mkdir "$work/result"
    ssh-keygen -q -t ed25519 -N '' -C crivirt-node -f "$work/result/key"
    include=$(IFS=, && printf '%s' "${packages[*]}")
    logged "$work/mmdebstrap.log" mmdebstrap --variant=minbase --include="$include" --aptopt='Acquire::Retries "5"' \
        --customize-hook="$here/setup.sh \"\$1\" '$work/result/key.pub'" bookworm "$work/root" \
        "deb $mirror/debian bookworm main" "deb $mirror/debian bookworm-updates main" \
        "deb $mirror/debian-security bookworm-security main" || fail "mmdebstrap could not make the node's file system"
    cp "$work"/root/boot/vmlinuz-* "$work/result/vmlinuz"
    cp "$work"/root/boot/initrd.img-* "$work/result/initrd.img"
    logged "$work/mke2fs.log" mke2fs -q -t ext4 -E lazy_itable_init=0,assume_storage_prezeroed=1 -d "$work/root" \
        "$work/result/disk.img" "$disk_size" || fail "mke2fs could not make the node's disk"
    cache_commit "$work/result" "$entry"
fi
say "node image: $entry"
printf '%s\n' "$entry"
