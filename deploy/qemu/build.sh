#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds crivirt's own QEMU from Debian's source package with patches/: only the devices of devices.mak and the features of the
# list `features`. Prints a directory of the cache: lib/crivirt/qemu-system-x86_64, devices, source. Minutes the first time.
#   build.sh                     build, or find it in the cache
#   build.sh --into DIRECTORY    also copy the program, devices and source there
#   build.sh --source DIRECTORY  only unpack, patch and configure it there, to work on a patch (ninja qemu-system-x86_64)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../say.sh
. "$here/../say.sh"
# shellcheck source=../../kernel/cache.sh
. "$here/../../kernel/cache.sh"
program=qemu-system-x86_64
place=lib/crivirt # below /usr on a node, and below bundles and entries of the cache: firmware is in ../../share
jobs=$(nproc)
need apt-get apt dpkg-source dpkg-dev gcc gcc meson meson ninja ninja-build patch patch pkg-config pkg-config python3 python3

# The package that is built is the one whose QEMU apt would install. Debian 13's has other options and devices.
find_version() {
    local package
    package=$(apt-cache show --no-all-versions qemu-system-x86 2>/dev/null)
    version=$(sed -n 's/^Source: qemu (\(.*\))$/\1/p' <<<"$package")
    version=${version:-$(sed -n 's/^Version: //p' <<<"$package")}
    [ -n "$version" ] || fail "apt knows no qemu-system-x86: run apt-get update"
    [[ $version == 1:7.2+* ]] || fail "crivirt's own QEMU is built from version 7.2 of Debian 12, and apt has $version"
}

# apt with the source packages of the Debian mirrors that this computer uses, and with nothing of its own apt: most computers
# have no source packages in their lists.
source_apt() {
    "$@" -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o Acquire::Languages=none
}

list_sources() {
    local site release component
    apt-get indextargets --format "\$(SITE) \$(RELEASE) \$(COMPONENT) \$(ORIGIN)" 'Identifier: Packages' |
        awk '$4 == "Debian" { print $1, $2, $3 }' | sort -u | while read -r site release component; do
        printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s %s\n' "$site" "$release" "$component"
    done
}

# apt verifies the lists by the signature of the mirror's Release, and the files by the lists.
download_source() {
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/download"
    list_sources >"$work/apt/sources.list"
    [ -s "$work/apt/sources.list" ] || fail "apt's lists have no packages of Debian: run apt-get update"
    if [ "$(id -u)" = 0 ] && getent passwd _apt >/dev/null; then
        chown -R _apt "$work/apt" "$work/download" # root's apt downloads as its own user
    fi
    logged "$work/update.log" source_apt apt-get update -q || fail "apt-get could not read the lists of source packages"
    (cd "$work/download" &&
        logged "$work/download.log" source_apt apt-get source -q --download-only --only-source "qemu=$version") ||
        fail "apt-get could not download the source package qemu $version"
}

unpack_source() {
    say "QEMU: downloading the source of $version"
    download_source
    logged "$work/unpack.log" dpkg-source --no-check -x "$work"/download/*.dsc "$work/qemu" ||
        fail "the source package qemu $version could not be unpacked"
    local change
    for change in "${patches[@]}"; do
        patch --silent --strip=1 --directory="$work/qemu" <"$change" || fail "$change does not apply to $version"
    done
    cp "$here/devices.mak" "$work/qemu/configs/devices/x86_64-softmmu/crivirt.mak"
    rm -r "$work/apt" "$work/download"
}

# Firmware and the compiler's hardening are Debian's. The paths of this build do not get into the program. Another Python on PATH
# would look for its own meson.
configure() {
    local features flags
    mapfile -t features < <(grep -v -e '^#' -e '^$' "$here/features")
    flags=$(dpkg-buildflags --get CFLAGS | sed 's/-ffile-prefix-map=[^ ]*//; s/^-g //')
    mkdir "$work/qemu/build"
    (cd "$work/qemu/build" && PATH=/usr/sbin:/usr/bin:/sbin:/bin logged "$work/configure.log" ../configure \
        --prefix=/usr --bindir="/usr/$place" --sysconfdir=/etc --localstatedir=/var --libexecdir=/usr/lib/qemu \
        --firmwarepath=/usr/share/qemu:/usr/share/seabios --with-git-submodules=ignore \
        --with-pkgversion="Debian $version, crivirt ${entry##*/}" \
        --target-list=x86_64-softmmu --with-devices-x86_64=crivirt "${features[@]}" \
        --extra-cflags="$flags $(dpkg-buildflags --get CPPFLAGS) -ffile-prefix-map=$work/qemu=." \
        --extra-ldflags="$(dpkg-buildflags --get LDFLAGS) -Wl,--as-needed") || fail "QEMU could not be configured"
}

build() {
    say "QEMU: compiling on $jobs CPUs (some minutes)"
    PATH=/usr/sbin:/usr/bin:/sbin:/bin logged "$work/build.log" ninja -C "$work/qemu/build" -j "$jobs" "$program" ||
        fail "QEMU did not build"
    mkdir -p "$work/result/$place"
    strip -o "$work/result/$place/$program" "$work/qemu/build/$program"
    chmod 755 "$work/result/$place/$program"
    ln -s /usr/share "$work/result/share"
    cp "$work/qemu/build/x86_64-softmmu-config-devices.mak" "$work/result/devices"
    printf 'qemu %s\n' "$version" >"$work/result/source"
    "$work/result/$place/$program" --version >&2 || fail "the QEMU that was built does not run here"
}

[ "$(uname -m)" = x86_64 ] || fail "crivirt's own QEMU is for x86-64 nodes; others use Debian's"
find_version
compiler=$(gcc --version | head -n 1)
patches=("$here"/patches/*.patch)
entry=$(cache_entry qemu "qemu $version" "$compiler" "$here/build.sh" "$here/devices.mak" "$here/features" "${patches[@]}")

if [ "${1:-}" = --source ]; then
    mkdir -p "${2:?--source wants a directory}"
    work=$(readlink -f "$2")
    unpack_source
    configure
    say "QEMU: the source is in $work/qemu, and configured in $work/qemu/build"
    exit 0
fi

# One build at a time: a second one would spend the same minutes again.
mkdir -p "$CRIVIRT_CACHE"
exec 9>"$CRIVIRT_CACHE/qemu.lock"
flock -n 9 || { say "waiting for another build of QEMU" && flock 9; }
if [ ! -d "$entry" ]; then
    work=$(mktemp -d "$CRIVIRT_CACHE/qemu-XXXXXX")
    chmod 755 "$work" # apt downloads as its own user
    trap 'rm -rf "$work"' EXIT
    unpack_source
    configure
    build
    cache_commit "$work/result" "$entry"
fi
if [ "${1:-}" = --into ]; then
    mkdir -p "${2:?--into wants a directory}"
    cp "$entry/devices" "$entry/source" "$2"
    install -m 755 "$entry/$place/$program" "$2/$program.new"
    mv "$2/$program.new" "$2/$program"
fi
say "QEMU: $("$entry/$place/$program" --version | head -n 1)"
printf '%s\n' "$entry"
