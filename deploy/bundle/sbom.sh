#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Writes the list of what is in the bundle's tree, in SPDX 2.3, to stdout; and puts the copyright file of each package, and the
# common licences that these name, into the tree.
#   sbom.sh TREE LIST NAME
# LIST has a line "PACKAGE PATH" for each file (tree.sh), NAME is that of the bundle. The date is $SOURCE_DATE_EPOCH.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../say.sh
. "$here/../say.sh"
[ $# = 3 ] || fail "usage: sbom.sh TREE LIST NAME"
tree=$1
list=$2
name=$3
version=${name#crivirt-}
need jq jq
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

packages() { cut -d ' ' -f 1 "$list" | grep -vx crivirt | LC_ALL=C sort -u; }

put_copyright() { # PACKAGE
    install -D -m 644 "/usr/share/doc/$1/copyright" "$tree/share/doc/$1/copyright"
    echo "$1 share/doc/$1/copyright" >>"$list"
}

put_common_licences() {
    local file
    for file in /usr/share/common-licenses/*; do
        install -D -m 644 "$file" "$tree/share/common-licenses/$(basename "$file")"
        echo "base-files share/common-licenses/$(basename "$file")" >>"$list"
    done
}

# The names of the licences in a copyright file that a program can read (DEP 5), a line each; nothing for another file.
licences() {
    sed -n 's/^License: *//p' "$1" | sed 's/, *and /\n/g; s/ and /\n/g; s/ or /\n/g; s/,/\n/g' |
        sed 's/^ *//; s/ *$//' | grep . | LC_ALL=C sort -u || true
}

describe() { # PACKAGE
    dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' "$1" | head -n 1
}

say "bundle: the list of its parts"
for package in $(packages); do
    put_copyright "$package"
done
put_common_licences
for package in $(packages); do
    describe "$package" >>"$work/packages"
    licences "/usr/share/doc/$package/copyright" | sed "s/^/$package\t/" >>"$work/licences"
done
printf 'crivirt\t%s\t%s\tcrivirt\t%s\n' "${version%-*}" "${version##*-}" "${version%-*}" >>"$work/packages"
printf 'crivirt\tApache-2.0\ncrivirt\tGPL-2\n' >>"$work/licences" # GPL: the guests' kernel, and QEMU
LC_ALL=C sort -k 2 "$list" | while read -r package path; do
    [ -L "$tree/$path" ] || printf '%s\t%s\t%s\n' "$package" "$path" "$(sha256sum "$tree/$path" | cut -d ' ' -f 1)"
done >"$work/files"
jq -n --arg name "$name" --arg created "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
    --rawfile packages "$work/packages" --rawfile licences "$work/licences" --rawfile files "$work/files" \
    --arg digest "$(sha256sum <"$work/files" | cut -c 1-32)" -f "$here/sbom.jq"
