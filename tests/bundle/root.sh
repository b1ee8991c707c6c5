#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the root directory of a node that the bundle is tried on:  root.sh KIND DIRECTORY
#   empty       nothing
#   musl        busybox, and musl as the only C library, as on Alpine
#   debian13    Debian 13's smallest system, from Debian's mirror or the cache
# The latter two have libraries that a program must not load when it is one of the bundle's.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../../deploy/say.sh
. "$here/../../deploy/say.sh"
# shellcheck source=../../kernel/cache.sh
. "$here/../../kernel/cache.sh"
[ $# = 2 ] || fail "usage: root.sh empty|musl|debian13 DIRECTORY"
root=$2
mkdir -p "$root"

debian() { # SUITE
    local entry work
    entry=$(cache_entry roots "$1" "$(date +%Y-%m)")
    if [ ! -d "$entry" ]; then
        mkdir -p "$CRIVIRT_CACHE"
        work=$(mktemp -d "$CRIVIRT_CACHE/root-XXXXXX")
        chmod 755 "$work" # mmdebstrap's apt downloads as its own user
        logged "$work.log" mmdebstrap --variant=essential --aptopt='Acquire::Retries "5"' "$1" "$work/root" \
            "deb ${CRIVIRT_DEBIAN_MIRROR:-http://deb.debian.org}/debian $1 main" || fail "mmdebstrap could not make $1"
        cache_commit "$work/root" "$entry"
        rm -rf "$work" "$work.log"
    fi
    cp -a "$entry/." "$root/"
}

musl() {
    local file
    while IFS= read -r file; do
        [ -d "$file" ] || install -D "$file" "$root$file"
    done < <(dpkg -L musl | grep -v /doc/)
    install -D /bin/busybox "$root/bin/busybox"
    ln -s busybox "$root/bin/sh"
}

# A library that the node's configuration gives to each program that looks for a user, and one for all programs.
add_libraries() {
    local name
    mkdir -p "$root/lib/x86_64-linux-gnu" "$root/etc"
    for name in libnss_node.so.2 libpreloaded.so; do
        gcc -shared -nostdlib -x c /dev/null -o "$root/lib/x86_64-linux-gnu/$name"
    done
    printf '%s: node files\n' passwd group >"$root/etc/nsswitch.conf"
    echo /lib/x86_64-linux-gnu/libpreloaded.so >"$root/etc/ld.so.preload"
}

case $1 in
    empty) ;;
    musl) musl && add_libraries ;;
    debian13) debian trixie && add_libraries ;;
    *) fail "unknown kind of root: $1" ;;
esac
