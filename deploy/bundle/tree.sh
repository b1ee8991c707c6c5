#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the bundle's tree from a build and from the Debian packages that are installed here.
#   tree.sh BUILD TREE PREFIX LIST
# BUILD is a build directory with the guest image. TREE is made anew. PREFIX is where the tree will lie on a node. LIST gets a
# line "PACKAGE PATH" for each file; the package of what comes from BUILD is "crivirt".
#
# Each program gets the bundle's own loader and library directory, which are absolute paths: the kernel resolves a relative loader
# against the working directory, and a library path relative to the program ($ORIGIN) would fail for crun, which executes a copy of
# itself in memory. Both texts have room for another prefix (relocate.sh). Libraries are left as they are.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../say.sh
. "$here/../say.sh"
[ $# = 4 ] || fail "usage: tree.sh BUILD TREE PREFIX LIST"
build=$(readlink -f "$1")
tree=$2
prefix=$3
list=$4
need patchelf patchelf readelf binutils
architecture=$(dpkg --print-architecture)
triplet=$(gcc -print-multiarch)
libraries=lib/$triplet
text_bytes=256 # room for the path of a loader or library directory, with its NUL

put() { # PACKAGE FILE DESTINATION
    mkdir -p "$(dirname "$tree/$3")"
    if [ -L "$2" ] && [ "$1" = crivirt ]; then
        cp -P "$2" "$tree/$3"
    else
        install -m "$([ -x "$2" ] && echo 755 || echo 644)" "$2" "$tree/$3"
    fi
    printf '%s %s\n' "$1" "$3" >>"$list"
    [ "$1" = crivirt ] || printf '%s\n' "$2" >>"$list.sources"
}

# The list of what is in the bundle names versions of packages, so that their files must be those of the packages.
check_packages() {
    local packages changed
    mapfile -t packages < <(cut -d ' ' -f 1 "$list" | grep -vx crivirt | sort -u)
    changed=$(dpkg --verify "${packages[@]}" | sed -n 's/^..5.* //p' | grep -xFf "$list.sources" || true)
    [ -z "$changed" ] || fail "these files differ from those of their packages: $changed"
    rm "$list.sources"
}

# The path in the bundle of what Debian has at PATH.
place() {
    local path=${1#/}
    path=${path#usr/}
    printf '%s\n' "${path/#sbin/bin}"
}

is_elf() { head -c 4 "$1" | tail -c 3 | grep -q ELF; }
interpreter() { readelf -lW "$1" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p'; }

# ---- the build ----

put_build() {
    local stage path
    stage=$(mktemp -d)
    DESTDIR=$stage logged "$tree.log" cmake --install "$build" --strip --prefix /usr
    [ -e "$stage/var/lib/crivirt/guest/kernel" ] || fail "$build has no guest image: build the target guest-image"
    while IFS= read -r path; do
        case $path in
            /var/lib/crivirt/*) put crivirt "$stage$path" "${path#/var/}" ;;
            *.service | */modules-load.d/* | */sysctl.d/* | /etc/* | */users.sh | */load-kvm.sh | */say.sh) ;; # below
            *) put crivirt "$stage$path" "$(place "$path")" ;;
        esac
    done < <(cd "$stage" && find . ! -type d -printf '/%P\n' | LC_ALL=C sort)
    rm -r "$stage" "$tree.log"
}

# The package's unit, with the bundle's programs. The link "current" leads to the version that systemd starts next.
put_unit() {
    local current unit=share/crivirt/crivirtd.service
    current=$(dirname "$(dirname "$prefix")")/current
    sed -e "s,=/usr/lib/crivirt/load-kvm.sh,=$current/bin/busybox sh $current/libexec/crivirt/prepare.sh," \
        -e "s,/bin/sh -c,$current/bin/busybox sh -c," -e "s,/bin/kill ,$current/bin/busybox kill ," \
        -e "s,/usr/sbin/,$current/bin/,g" -e "s,file:/usr/,file:$current/," "$here/../crivirtd.service" >"$tree/$unit"
    ! grep '^[A-Z].*=.*/usr/' "$tree/$unit" || fail "the unit still names /usr"
    echo "crivirt $unit" >>"$list"
}

put_own() {
    mkdir -p "$tree/usr"
    ln -s ../share "$tree/usr/share" # for libvirt (sandbox/vmm/cpu_map.h)
    local script
    for script in "$here/relocate.sh" "$here/prepare.sh" "$here/../users.sh" "$here/../load-kvm.sh"; do
        put crivirt "$script" "libexec/crivirt/$(basename "$script")"
    done
    put crivirt "$here/../modules-load.conf" share/crivirt/modules-load.conf
    put crivirt "$here/../sysctl.conf" share/crivirt/sysctl.conf
    put_unit
}

# ---- Debian's packages ----

put_packages() {
    local package path rest file
    while read -r package path rest; do
        case $package in
            '' | '#'*) continue ;;
            *:"$architecture") package=${package%:*} ;;
            *:*) continue ;;
        esac
        case $path in
            */qemu-system-x86_64 | */accel-tcg-x86_64.so) [ ! -e "$tree/lib/crivirt/qemu-system-x86_64" ] || continue ;;
        esac
        path=${path/ARCH/$triplet}
        [ -e "$path" ] || fail "$path is missing: apt-get install $package ($rest)"
        while IFS= read -r file; do
            put "$package" "$file" "$(place "$file")"
        done < <(find "$path" ! -type d | LC_ALL=C sort)
    done <"$here/contents"
}

# In a folder of their own, because the node's programs come first (common/bundle.c).
put_iptables() {
    local name
    mkdir -p "$tree/lib/crivirt/fallback"
    for name in iptables ip6tables; do
        ln -s ../../../bin/xtables-nft-multi "$tree/lib/crivirt/fallback/$name"
    done
}

# The certificates as Debian's package has them, not as this machine's administrator has chosen.
put_certificates() {
    local file
    mkdir -p "$tree/etc/ssl/certs"
    dpkg -L ca-certificates | grep '\.crt$' | LC_ALL=C sort | while IFS= read -r file; do
        cat "$file"
    done >"$tree/etc/ssl/certs/ca-certificates.crt"
    echo "ca-certificates etc/ssl/certs/ca-certificates.crt" >>"$list"
}

# All libraries that an ELF file of the tree needs, and the loader.
put_libraries() {
    local file library name package elves=()
    while IFS= read -r file; do
        if is_elf "$file" && readelf -dW "$file" | grep -q NEEDED; then
            elves+=("$file")
        fi
    done < <(find "$tree" -type f)
    for file in "${elves[@]}"; do
        ldd "$file" | awk '$2 == "=>" { if ($3 == "not") exit 1; print $3 } $1 ~ /^\/.*\/ld-linux/ { print $1 }' ||
            fail "$file needs a library that is not installed here"
    done | LC_ALL=C sort -u | while IFS= read -r library; do
        name=$(basename "$library")
        [ ! -e "$tree/$libraries/$name" ] || continue
        package=$(owner "$library")
        put "$package" "$library" "$libraries/$name"
    done
}

# The package of a file, whose path may lead through Debian's /lib, a link to /usr/lib.
owner() {
    local path
    path=$(readlink -f "$1")
    { dpkg -S "$path" || dpkg -S "${path#/usr}"; } 2>/dev/null | head -n 1 | cut -d : -f 1 | grep . ||
        fail "no package of this machine has $1"
}

# The loader looks for libraries where a program says. These are all there, but a library that is only loaded while a program runs,
# such as one that the node's nsswitch.conf names, would come from the node's cache or folders. The loader's texts with these
# places, and with the list of libraries for all programs of the node, get other names of the same length.
close_loader() {
    local loader
    loader=$(find "$tree/$libraries" -name 'ld-linux*')
    LC_ALL=C sed -i -e 's,/etc/ld\.so\.,/dev/ld.so.,g' -e 's,/usr/lib/,/dev/lib/,g' -e 's,\(^\|[^v]\)/lib/,\1/dev/,g' "$loader"
    ! strings -a "$loader" | grep -qE '^/(usr/)?lib/|^/etc/ld' || fail "$loader still names folders of the node"
}

# ---- loader and library directory ----

# A text of $text_bytes with its NUL, all of one character.
room() { printf "%$((text_bytes - 1))s" '' | tr ' ' "$1"; }

note_room() { # FILE CHARACTER PATH
    local offset
    offset=$(LC_ALL=C grep -aboF "$(room "$2")" "$tree/$1" | cut -d : -f 1)
    [[ $offset =~ ^[0-9]+$ ]] || fail "patchelf did not write a path into $1 once"
    printf '%s %s %s %s\n' "$1" "$offset" "$text_bytes" "$3" >>"$tree/share/crivirt/relocations"
}

# RPATH, not RUNPATH, because it comes before LD_LIBRARY_PATH and holds for the libraries of libraries.
bind_program() { # FILE LOADER
    patchelf --set-interpreter "$(room +)" "$tree/$1"
    patchelf --remove-rpath "$tree/$1"
    patchelf --force-rpath --set-rpath "$(room ,)" "$tree/$1"
    note_room "$1" + "$libraries/$(basename "$2")"
    note_room "$1" , "$libraries"
}

bind_programs() {
    local file loader
    mkdir -p "$tree/share/crivirt"
    : >"$tree/share/crivirt/relocations"
    echo "crivirt share/crivirt/relocations" >>"$list"
    while IFS= read -r file; do
        is_elf "$tree/$file" || continue
        loader=$(interpreter "$tree/$file")
        if [ -n "$loader" ] && [[ $file != *.so* ]]; then
            bind_program "$file" "$loader"
        fi
    done < <(cd "$tree" && find . -type f -printf '%P\n' | LC_ALL=C sort)
    sh "$tree/libexec/crivirt/relocate.sh" "$tree" "$prefix"
}

say "bundle: the tree"
rm -rf "$tree" "$list"
mkdir -p "$tree"
put_build
put_own
put_packages
put_iptables
put_certificates
put_libraries
check_packages
close_loader
bind_programs
