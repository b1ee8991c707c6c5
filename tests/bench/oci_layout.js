// SPDX-License-Identifier: Apache-2.0
// Writes an OCI image layout (image-spec 1.0) of the layers N.tar and N.tar.gz in a directory: oci_layout.js LAYERS OUTPUT
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');

const [layers, output] = process.argv.slice(2);
const blobs = path.join(output, 'blobs/sha256');
fs.mkdirSync(blobs, {recursive: true});

const digest = (data) => 'sha256:' + crypto.createHash('sha256').update(data).digest('hex');

function blob(data, kind) {
    const descriptor = {mediaType: `application/vnd.oci.image.${kind}`, digest: digest(data), size: data.length};
    fs.writeFileSync(path.join(blobs, descriptor.digest.slice('sha256:'.length)), data);
    return descriptor;
}

const json = (value, kind) => blob(Buffer.from(JSON.stringify(value)), `${kind}+json`);
const names = fs.readdirSync(layers).filter((name) => name.endsWith('.tar')).sort();
const read = (name) => fs.readFileSync(path.join(layers, name));
const config = json({
    architecture: {x64: 'amd64'}[process.arch] || process.arch,
    os: 'linux',
    config: {},
    rootfs: {type: 'layers', diff_ids: names.map((name) => digest(read(name)))},
}, 'config.v1');
const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: names.map((name) => blob(read(`${name}.gz`), 'layer.v1.tar+gzip')),
}, 'manifest.v1');
manifest.annotations = {'org.opencontainers.image.ref.name': 'latest'};
fs.writeFileSync(path.join(output, 'index.json'), JSON.stringify({schemaVersion: 2, manifests: [manifest]}));
fs.writeFileSync(path.join(output, 'oci-layout'), JSON.stringify({imageLayoutVersion: '1.0.0'}));
