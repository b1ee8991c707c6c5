#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes an OCI archive of a small image from Debian's busybox-static, for nodes that reach no registry.
#   busybox-archive.sh OUTPUT.tar NAME:TAG
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=say.sh
. "$here/say.sh"
# shellcheck source=oci-archive.sh
. "$here/oci-archive.sh"
[ $# = 2 ] || fail "usage: busybox-archive.sh OUTPUT.tar NAME:TAG"
output=$(readlink -f "$1")
name=$2
busybox=/bin/busybox
[ -x "$busybox" ] || fail "$busybox is missing: apt-get install busybox-static"

root=$(mktemp -d "${TMPDIR:-/tmp}/crivirt-busybox-XXXXXX")
trap 'rm -rf "$root"' EXIT
umask 022
mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp,var}

install -m 755 "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
chmod 755 "$root"
chmod 1777 "$root/tmp"
oci_archive "$root" '{"Env": ["PATH=/bin"], "Cmd": ["sh"]}' "$name" "$output"
