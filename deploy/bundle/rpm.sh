#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes an RPM of the bundle, for nodes that install software so. It requires no other package than systemd, so that it is the same
# for all distributions:
#   rpm.sh crivirt-VERSION-ARCH.tar.zst OUTPUT
# The unit is the package's, and `crivirt` is on PATH. The rest is as in docs/install.md.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../say.sh
. "$here/../say.sh"
[ $# = 2 ] || fail "usage: rpm.sh crivirt-VERSION-ARCH.tar.zst OUTPUT"
archive=$(readlink -f "$1")
mkdir -p "$2"
output=$(readlink -f "$2")
need cpack cmake rpmbuild rpm
version=$(basename "$archive" .tar.zst)
version=${version#crivirt-}
umask 022
work=$(mktemp -d "${TMPDIR:-/tmp}/crivirt-rpm-XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
tree=$root/opt/crivirt/versions/$version
mkdir -p "$tree" "$root/usr/bin" "$root/usr/lib/systemd/system" "$root/etc/crivirt"
tar -C "$tree" --strip-components=1 -xf "$archive"
ln -s "versions/$version" "$root/opt/crivirt/current"
ln -s /opt/crivirt/current/bin/crivirt "$root/usr/bin/crivirt"
cp "$tree/share/crivirt/crivirtd.service" "$root/usr/lib/systemd/system/"
cp "$tree/share/crivirt/crivirt.toml" "$root/etc/crivirt/"
# cpack's dates are those of the files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$tree/share/crivirt/SHA256SUMS")}
export SOURCE_DATE_EPOCH CRIVIRT_ROOT="$root" CRIVIRT_BUNDLE_VERSION="${version%-*}" CRIVIRT_BUNDLE_ARCHITECTURE="${version##*-}"
say "bundle: RPM"
logged "$work/cpack.log" cpack --config "$here/rpm/cpack.cmake" -B "$work/output" ||
    fail "cpack could not make the RPM: $work/output"
mv "$work"/output/*.rpm "$output/"
printf '%s\n' "$output"/crivirt-*.rpm
