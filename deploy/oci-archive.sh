# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Writes OCI archives. An OCI image layout (image-spec 1.0) is a few files named by their sha256, so that no tool is needed to
# write it. Sourced, never run. The dates of all files are $SOURCE_DATE_EPOCH (default 0), so that the same files are the same bytes.

fixed_tar() { # DIRECTORY OUTPUT
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" --format=gnu -C "$1" -cf "$2" .
}

# oci_add_blob LAYOUT FILE: moves the file among the blobs; '"digest": …, "size": …' goes to stdout.
oci_add_blob() {
    local digest size
    digest=$(sha256sum "$2" | cut -d ' ' -f 1)
    size=$(stat -c %s "$2")
    mv "$2" "$1/blobs/sha256/$digest"
    printf '"digest": "sha256:%s", "size": %s' "$digest" "$size"
}

# oci_archive ROOT CONFIG NAME OUTPUT: an archive of the image NAME, which has the files below ROOT as its one layer, and CONFIG, a
# JSON object, as the configuration of its containers.
oci_archive() {
    local root=$1 config=$2 name=$3 output=$4 work layout diff layer created
    work=$(mktemp -d "${TMPDIR:-/tmp}/crivirt-oci-XXXXXX")
    layout=$work/image
    mkdir -p "$layout/blobs/sha256"
    fixed_tar "$root" "$work/layer"
    diff=$(sha256sum "$work/layer" | cut -d ' ' -f 1)
    gzip -n "$work/layer"
    layer=$(oci_add_blob "$layout" "$work/layer.gz")
    created=$(date -u -d "@${SOURCE_DATE_EPOCH:-0}" +%Y-%m-%dT%H:%M:%SZ)
    cat >"$work/config" <<END
{"architecture": "$(dpkg --print-architecture)", "os": "linux", "created": "$created", "config": $config,
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$diff"]}}
END
    cat >"$work/manifest" <<END
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
 "config": {"mediaType": "application/vnd.oci.image.config.v1+json", $(oci_add_blob "$layout" "$work/config")},
 "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", $layer}]}
END
    cat >"$layout/index.json" <<END
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
 "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", $(oci_add_blob "$layout" "$work/manifest"),
                "annotations": {"io.containerd.image.name": "$name",
                                "org.opencontainers.image.ref.name": "$name"}}]}
END
    echo '{"imageLayoutVersion": "1.0.0"}' >"$layout/oci-layout"
    fixed_tar "$layout" "$output"
    rm -r "$work"
}
