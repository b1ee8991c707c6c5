#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Gets Debian's stock kernel for guests, with the few modules a pod needs, without installing it on the node.
# Prints a directory of the cache: vmlinuz, release, modules/ (*.ko, and `order`: their names in load order).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../deploy/say.sh
. "$here/../deploy/say.sh"
# shellcheck source=arch.sh
. "$here/arch.sh"
# shellcheck source=cache.sh
. "$here/cache.sh"
need apt-get apt dpkg-deb dpkg depmod kmod modprobe kmod

# The metapackage names the current kernel's package.
image_package() {
    local found
    found=$(apt-cache depends --important "$STOCK_PACKAGE:$DEBIAN_ARCH" 2>/dev/null |
        sed -n 's/^ *Depends: *\(linux-image-[0-9][^: ]*\).*/\1/p' | head -n 1)
    [ -n "$found" ] || fail "apt knows no kernel behind $STOCK_PACKAGE:$DEBIAN_ARCH: run apt-get update" \
        "(for another architecture first: dpkg --add-architecture $DEBIAN_ARCH)"
    printf '%s\n' "$found"
}

# modprobe prints "insmod PATH" for each module after what it needs, and "builtin NAME" for the rest.
module_paths() {
    local root=$1 release=$2 name
    while read -r name _; do
        case $name in '' | '#'*) continue ;; esac
        modprobe -C /dev/null -d "$root" -S "$release" --show-depends "$name" ||
            fail "the kernel $release has no module $name, which guests need"
    done <"$here/stock-modules" | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'
}

copy_modules() {
    local root=$1 release=$2 to=$3 path name
    mkdir "$to"
    depmod -b "$root" "$release"
    while read -r path; do
        name=${path##*/}
        case $name in
            *.ko) cp "$path" "$to/$name" ;;
            *.ko.xz) name=${name%.xz} && xz -dc "$path" >"$to/$name" ;;
            *.ko.zst) name=${name%.zst} && zstd -qdc "$path" >"$to/$name" ;;
            *) fail "$path: a module in an unknown compression" ;;
        esac
        printf '%s\n' "$name"
    done < <(module_paths "$root" "$release") >"$to/order"
    [ -s "$to/order" ] || fail "no modules were found in the package of kernel $release"
}

package=$(image_package)
version=$(apt-cache show --no-all-versions "$package:$DEBIAN_ARCH" | sed -n 's/^Version: //p' | head -n 1)
entry=$(cache_entry stock "$package" "$version" "$ARCH" "$here/stock-modules" "$here/stock.sh")
if [ ! -d "$entry" ]; then
    say "stock kernel: downloading $package $version"
    mkdir -p "$CRIVIRT_CACHE"
    work=$(mktemp -d "$CRIVIRT_CACHE/stock-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work" # apt downloads as its own user
    mkdir "$work/download" "$work/result"
    (cd "$work/download" && apt_download "$package:$DEBIAN_ARCH=$version")
    dpkg-deb -x "$work"/download/*.deb "$work/root"
    release=${package#linux-image-}
    cp "$work/root/boot/vmlinuz-$release" "$work/result/vmlinuz"
    printf '%s\n' "$release" >"$work/result/release"
    printf '%s %s\n' "$package" "$version" >"$work/result/source"
    copy_modules "$work/root" "$release" "$work/result/modules"
    cache_commit "$work/result" "$entry"
fi
say "stock kernel: $(cat "$entry/release")"
printf '%s\n' "$entry"
