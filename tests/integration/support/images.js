// SPDX-License-Identifier: Apache-2.0
// Images for tests. All are made of the node's busybox, so that no registry on the internet is needed.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const {root} = require('./environment');
const {must, serial} = require('./kit');

const BUSYBOX = 'docker.io/library/busybox:latest';

// An OCI archive with the image BUSYBOX, which is made once for a node.
function busyboxArchive(node) {
    const file = path.join(node.dir, 'busybox.tar');
    if (!fs.existsSync(file))
        must('bash', path.join(root, 'deploy/busybox-archive.sh'), file, BUSYBOX);
    return file;
}

// A layout (as skopeo names it, with the tag "it") of busybox, changed by umoci's commands.
function changedBusybox(node, ...commands) {
    const layout = path.join(node.dir, `layout${serial()}`);
    must('skopeo', 'copy', '-q', '--insecure-policy', `oci-archive:${busyboxArchive(node)}`, `oci:${layout}:it`);
    for (const [verb, ...words] of commands)
        must('umoci', verb, '--image', `${layout}:it`, ...words);
    return `oci:${layout}:it`;
}

// A layout of busybox with one more layer of that many random MiB.
function bigImage(node, mib) {
    const content = path.join(node.dir, `big${serial()}`);
    fs.mkdirSync(content);
    must('dd', 'if=/dev/urandom', `of=${content}/random`, 'bs=1M', `count=${mib}`, 'status=none');
    return changedBusybox(node, ['insert', content, '/big']);
}

// An archive of busybox with another layer and another configuration. fill(directory) makes the layer's content; config is
// that of the image specification. members: the names that go into the layer; default: all of them. Parents that they
// leave out have no entry.
function makeImage(node, name, config, fill, members) {
    const work = fs.mkdtempSync(path.join(node.dir, 'image-'));
    const layout = path.join(work, 'layout'), layer = path.join(work, 'layer'), archive = path.join(work, 'archive.tar');
    const blobs = path.join(layout, 'blobs/sha256');
    const read = (descriptor) => JSON.parse(fs.readFileSync(path.join(blobs, descriptor.digest.slice(7)), 'utf8'));
    const put = (bytes, like) => {
        const hash = crypto.createHash('sha256').update(bytes).digest('hex');
        fs.writeFileSync(path.join(blobs, hash), bytes);
        return {mediaType: like.mediaType, digest: `sha256:${hash}`, size: bytes.length};
    };
    fs.mkdirSync(layout);
    fs.mkdirSync(layer);
    must('tar', '-C', layout, '-xf', busyboxArchive(node));
    fill(layer);
    must('tar', '--numeric-owner', ...(members ? ['--no-recursion'] : []), '-C', layer, '-cf', path.join(work, 'layer.tar'),
         ...(members || ['.']));
    const index = JSON.parse(fs.readFileSync(path.join(layout, 'index.json'), 'utf8'));
    const manifest = read(index.manifests[0]), image = read(manifest.config);
    const added = put(fs.readFileSync(path.join(work, 'layer.tar')), manifest.layers[0]);
    manifest.layers.push(added);
    image.rootfs.diff_ids.push(added.digest);
    image.config = {Env: ['PATH=/bin'], ...config};
    manifest.config = put(Buffer.from(JSON.stringify(image)), manifest.config);
    index.manifests = [{
        ...put(Buffer.from(JSON.stringify(manifest)), index.manifests[0]),
        annotations: {'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name},
    }];
    fs.writeFileSync(path.join(layout, 'index.json'), JSON.stringify(index));
    must('tar', '-C', layout, '-cf', archive, '.');
    return archive;
}

module.exports = {BUSYBOX, busyboxArchive, changedBusybox, bigImage, makeImage};
