#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the bundle, with which crivirt runs on a node that has a kernel and nothing else (docs/install.md):
#   make.sh BUILD OUTPUT
# BUILD is a build directory with the programs and the guest image (ninja guest-image). OUTPUT gets
#   crivirt-VERSION-ARCH.tar.zst        the tree, to be unpacked below /opt/crivirt/versions
#   crivirt-VERSION-ARCH.oci.tar        the same as an OCI image, whose program is the installer
#   crivirt-VERSION-ARCH.spdx.json      what is in them; also in the tree, as share/crivirt/sbom.spdx.json
#   SHA256SUMS                          their digests; those of the files in the tree are in its share/crivirt/SHA256SUMS
# The same inputs give the same bytes. All dates are $SOURCE_DATE_EPOCH, by default that of the last commit.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../say.sh
. "$here/../say.sh"
# shellcheck source=../oci-archive.sh
. "$here/../oci-archive.sh"
[ $# = 2 ] || fail "usage: make.sh BUILD OUTPUT"
mkdir -p "$2"
build=$(readlink -f "$1")
output=$(readlink -f "$2")
need zstd zstd
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
version=$("$build/cri-server/crivirtd" --version | cut -d ' ' -f 2)-$(dpkg --print-architecture)
name=crivirt-$version
versions=/opt/crivirt/versions
umask 022
work=$(mktemp -d "${TMPDIR:-/tmp}/crivirt-bundle-XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root # of the archive
tree=$root/$name

# For sha256sum -c, in the tree.
write_sums() {
    (cd "$tree" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum) >"$work/sums"
    install -m 644 "$work/sums" "$tree/share/crivirt/SHA256SUMS"
}

# With a number of threads, whichever it is, zstd writes the same bytes; without threads it writes others.
make_archive() {
    say "bundle: $name.tar.zst"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu -C "$root" -cf - "$name" |
        zstd -q -12 -T2 -f -o "$output/$name.tar.zst"
}

# The tree has the place that it has on a node.
make_image() {
    local image=$work/image busybox=/opt/crivirt/current/bin/busybox installer=/opt/crivirt/current/lib/crivirt/node/stay.sh
    say "bundle: $name.oci.tar"
    mkdir -p "$image$versions" "$image/bin" "$image/tmp" "$image/etc"
    mv "$tree" "$image$versions/$version"
    ln -s "versions/$version" "$image/opt/crivirt/current"
    ln -s "$busybox" "$image/bin/sh"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$image/etc/passwd"
    chmod 1777 "$image/tmp"
    oci_archive "$image" "{\"Entrypoint\": [\"$busybox\", \"sh\", \"$installer\"], \"Env\": [\"PATH=/opt/crivirt/current/bin:/bin\"]}" \
        "crivirt.io/crivirt:${version%-*}" "$output/$name.oci.tar"
}

"$here/tree.sh" "$build" "$tree" "$versions/$version" "$work/list"
"$here/sbom.sh" "$tree" "$work/list" "$name" >"$work/sbom"
install -m 644 "$work/sbom" "$tree/share/crivirt/sbom.spdx.json"
install -m 644 "$work/sbom" "$output/$name.spdx.json"
write_sums
make_archive
make_image
(cd "$output" && sha256sum "$name".{oci.tar,spdx.json,tar.zst} >SHA256SUMS)
printf '%s\n' "$output/$name.tar.zst"
