#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes an OCI archive of a small image from Debian's busybox-static, for nodes that reach no registry.
#   busybox-archive.sh OUTPUT.tar NAME:TAG
# An OCI image layout (image-spec 1.0) is a few files named by their sha256, so no tool is needed to write it.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=say.sh
. "$here/say.sh"
[ $# = 2 ] || fail "usage: busybox-archive.sh OUTPUT.tar NAME:TAG"
output=$(readlink -f "$1")
name=$2
busybox=/bin/busybox
[ -x "$busybox" ] || fail "$busybox is missing: apt-get install busybox-static"

work=$(mktemp -d "${TMPDIR:-/tmp}/crivirt-busybox-XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/root
blobs=$work/image/blobs/sha256
mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp,var} "$blobs"

fixed_tar() { tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$1" -cf "$2" .; }
size() { stat -c %s "$1"; }

# add_blob FILE: moves it among the blobs; the digest goes to stdout.
add_blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d ' ' -f 1)
    mv "$1" "$blobs/$digest"
    printf '%s\n' "$digest"
}

install -m 755 "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
chmod 1777 "$root/tmp"
fixed_tar "$root" "$work/layer"
layer_size=$(size "$work/layer")
layer=$(add_blob "$work/layer")

cat >"$work/config" <<END
{"architecture": "$(dpkg --print-architecture)", "os": "linux",
 "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
END
config_size=$(size "$work/config")
config=$(add_blob "$work/config")

cat >"$work/manifest" <<END
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
 "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": "sha256:$config", "size": $config_size},
 "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
             "digest": "sha256:$layer", "size": $layer_size}]}
END
manifest_size=$(size "$work/manifest")
manifest=$(add_blob "$work/manifest")

cat >"$work/image/index.json" <<END
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
 "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": "sha256:$manifest", "size": $manifest_size,
                "annotations": {"io.containerd.image.name": "$name",
                                "org.opencontainers.image.ref.name": "$name"}}]}
END
echo '{"imageLayoutVersion": "1.0.0"}' >"$work/image/oci-layout"
fixed_tar "$work/image" "$output"
