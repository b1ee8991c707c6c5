#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds a guest's initramfs: the agent as /init, crun with the libraries it needs, empty directories, and a stock
# kernel's modules with --modules. The same inputs give the same bytes.
#   initramfs.sh --agent FILE [--modules DIRECTORY] [--compress lz4|zstd|none] OUTPUT
# kernel/stock.sh makes the directory of modules. In the guest, /etc/modules.crivirt has their load order: an
# absolute path in each line; `#` begins a comment.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../deploy/say.sh
. "$here/../deploy/say.sh"

agent='' modules='' compress=lz4 output=''
while [ $# -gt 0 ]; do
    case $1 in
        --agent) agent=${2:?--agent wants a file} && shift 2 ;;
        --modules) modules=${2:?--modules wants a directory} && shift 2 ;;
        --compress) compress=${2:?--compress wants lz4, zstd or none} && shift 2 ;;
        -*) fail "unknown option $1" ;;
        *) output=$1 && shift ;;
    esac
done
if [ -z "$agent" ] || [ -z "$output" ]; then
    fail "usage: initramfs.sh --agent FILE [--modules DIRECTORY] OUTPUT"
fi
[ -x "$agent" ] || fail "there is no agent '$agent': build the target crivirt-agent first"
need cpio cpio lz4 lz4 zstd zstd ldd libc-bin strip binutils

add_directories() {
    # Mount points of the agent, and directories that crun and the agent write to.
    mkdir -p "$1"/{dev,proc,sys,run,tmp,etc,root,mnt,usr/bin}
    chmod 1777 "$1/tmp"
    chmod 700 "$1/root"
}

# The guest has no libraries for its init.
add_agent() {
    if ldd "$agent" >/dev/null 2>&1; then
        fail "the agent '$agent' is not linked statically"
    fi
    # The files are in each guest's memory as long as it lives; debuggers read the symbols of $agent.
    install -m 755 -s "$agent" "$1/init"
}

# Copies a program of the node to the same path in the guest, with its loader and its libraries, except libraries that the
# guest has already.
add_program() {
    local root=$1 program=$2 libraries library
    [ -x "$program" ] || fail "$program is missing: apt-get install $3 (or run deploy/packages.sh)"
    install -D -m 755 "$program" "$root$program"
    libraries=$(LD_LIBRARY_PATH=$root$(dirname "$(ldd "$program" | grep -o '/[^ ]*/libc\.so\.6')") ldd "$program")
    ! grep 'not found' <<<"$libraries" || fail "$program lacks a library"
    while read -r library; do
        if [[ $library != "$root"* ]] && [ ! -e "$root$library" ]; then
            install -D -m 755 "$library" "$root$library"
        fi
    done < <(grep -o '/[^ ]*' <<<"$libraries")
}

add_crun() {
    local place
    [ -x /usr/bin/crun ] || fail "/usr/bin/crun is missing: apt-get install crun (or run deploy/packages.sh)"
    place=$(ldd /usr/bin/crun | grep -o '/[^ ]*/libsystemd\.so\.0' || true)
    [ -z "$place" ] || "$here/libsystemd-stub.sh" /usr/bin/crun "$1$place"
    add_program "$1" /usr/bin/crun crun
    # With it the agent loads crun once (agent/guest/crun_server.h).
    need gcc gcc
    mkdir -p "$1/usr/lib/crivirt"
    gcc -O2 -Wall -Wextra -Werror -fPIC -shared -s -Wl,--build-id=none -Wl,-z,relro,-z,now -Wl,-z,noseparate-code \
        -I "$here/.." -o "$1/usr/lib/crivirt/crun-server.so" "$here/../agent/guest/crun_preload.c"
}

add_modules() {
    local root=$1 name
    [ -f "$modules/order" ] || fail "no '$modules/order': the directory of modules comes from kernel/stock.sh"
    mkdir -p "$root/usr/lib/modules/crivirt"
    printf '# modules that the agent loads, in this order\n' >"$root/etc/modules.crivirt"
    while read -r name; do
        install -m 644 "$modules/$name" "$root/usr/lib/modules/crivirt/$name"
        printf '/usr/lib/modules/crivirt/%s\n' "$name" >>"$root/etc/modules.crivirt"
    done <"$modules/order"
}

# Order, owners, times and inode numbers are fixed, so that the same inputs give the same bytes.
archive() {
    find "$1" -exec touch -h -d @0 {} +
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible)
}

# The kernel reads lz4's legacy format only. -12 costs a second here and nothing in the guest.
compressed() {
    case $compress in
        lz4) lz4 -q -l -12 --favor-decSpeed ;;
        zstd) zstd -q -19 -T1 ;;
        none) cat ;;
        *) fail "unknown compression $compress: lz4, zstd or none" ;;
    esac
}

work=$(mktemp -d "${TMPDIR:-/tmp}/crivirt-initramfs-XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 022
mkdir "$work/root"
add_directories "$work/root"
add_agent "$work/root"
add_crun "$work/root"
[ -z "$modules" ] || add_modules "$work/root"
archive "$work/root" | compressed >"$work/initrd"
mkdir -p "$(dirname "$output")"
install -m 644 "$work/initrd" "$output.new"
mv "$output.new" "$output"
say "initramfs: $output, $(($(stat -c %s "$output") / 1024)) KiB ($compress)"
