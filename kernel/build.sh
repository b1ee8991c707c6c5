#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the tuned guest kernel from Debian's linux-source with patches/: allnoconfig and the fragments in config/ and config/ARCH/.
# Prints a directory of the cache: the kernel (vmlinux; Image on arm64), config, release. Minutes the first time.
#   build.sh             build, or find it in the cache
#   build.sh --config    only check that the configuration holds
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../deploy/say.sh
. "$here/../deploy/say.sh"
# shellcheck source=arch.sh
. "$here/arch.sh"
# shellcheck source=cache.sh
. "$here/cache.sh"
source_package=linux-source-6.1
jobs=$(nproc)
need apt-get apt dpkg-deb dpkg make make "${KERNEL_CROSS}gcc" gcc bc bc bison bison flex flex patch patch xz xz-utils perl perl

# kernel_make ARGUMENT…: runs make in the source tree so that the result depends neither on this computer nor on the clock.
kernel_make() {
    make -C "$work/linux" ARCH="$KERNEL_ARCH" CROSS_COMPILE="$KERNEL_CROSS" KBUILD_BUILD_USER=crivirt \
        KBUILD_BUILD_HOST=crivirt KBUILD_BUILD_TIMESTAMP="@1" KBUILD_BUILD_VERSION=1 "$@"
}

# The tree is verified and unpacked each time that it is needed, because it is 1.4 GB.
unpack_source() {
    say "guest kernel: downloading $source_package $version"
    mkdir "$work/download" "$work/linux"
    (cd "$work/download" && apt_download "$source_package=$version")
    dpkg-deb --fsys-tarfile "$work"/download/*.deb | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
        tar -xJ -C "$work/linux" --strip-components=1
    local change
    for change in "${patches[@]}"; do
        patch --silent --strip=1 --directory="$work/linux" <"$change" || fail "$change does not apply to $version"
    done
    rm -r "$work/download"
}

# Kconfig drops a symbol whose dependencies are not met without a message, and defaults enable others.
check_config() {
    local config=$1 line symbol wanted actual wrong=0
    while read -r line; do
        case $line in
            CONFIG_*=*) symbol=${line%%=*} wanted=${line#*=} ;;
            '# CONFIG_'*' is not set') symbol=${line#\# } symbol=${symbol%% *} wanted=n ;;
            *) continue ;;
        esac
        actual=$(sed -n "s/^$symbol=//p" "$config")
        if [ "${actual:-n}" != "$wanted" ]; then
            echo "  $symbol is ${actual:-n}, and $(grep -lE "^(# )?${symbol}[= ]" "${fragments[@]}" |
                sed "s|$here/||" | paste -sd' ') wants $wanted" >&2
            wrong=$((wrong + 1))
        fi
    done < <(cat "${fragments[@]}")
    [ "$wrong" = 0 ] || fail "$wrong symbols are not as the fragments want them in $version"
}

configure() {
    cat "${fragments[@]}" >"$work/wanted"
    logged "$work/config.log" kernel_make KCONFIG_ALLCONFIG="$work/wanted" allnoconfig ||
        fail "the kernel could not be configured"
    check_config "$work/linux/.config"
}

version=$(apt-cache show --no-all-versions "$source_package" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1)
[ -n "$version" ] || fail "apt knows no $source_package: run apt-get update"
compiler=$("${KERNEL_CROSS}gcc" --version | head -n 1)
fragments=("$here"/config/*.config "$here/config/$ARCH"/*.config)
patches=("$here"/patches/*.patch)
entry=$(cache_entry kernel "$source_package $version" "$compiler" "$ARCH" "$here/build.sh" "$here/arch.sh" \
    "${fragments[@]}" "${patches[@]}")

if [ "${1:-}" = --config ] || [ ! -d "$entry" ]; then
    mkdir -p "$CRIVIRT_CACHE"
    work=$(mktemp -d "$CRIVIRT_CACHE/kernel-XXXXXX")
    chmod 755 "$work" # apt downloads as its own user
    trap 'rm -rf "$work"' EXIT
    unpack_source
    configure
    if [ "${1:-}" = --config ]; then
        say "guest kernel: the configuration holds in $version"
        exit 0
    fi
    say "guest kernel: compiling on $jobs CPUs (some minutes)"
    logged "$work/build.log" kernel_make -j "$jobs" "$KERNEL_TARGET" || fail "the kernel did not build"
    mkdir "$work/result"
    cp "$work/linux/$KERNEL_OUTPUT" "$work/result/$KERNEL_FILE"
    cp "$work/linux/.config" "$work/result/config"
    cp "$work/linux/include/config/kernel.release" "$work/result/release"
    printf '%s %s\n' "$source_package" "$version" >"$work/result/source"
    cache_commit "$work/result" "$entry"
fi
say "guest kernel: $(cat "$entry/release")"
printf '%s\n' "$entry"
