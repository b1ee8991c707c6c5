// An image for tests: busybox, another layer, and a configuration of one's own, as an OCI archive.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const {must} = require('./kit');

// fill(directory) makes what the layer has; config is that of the image specification. Returns the archive.
function makeImage(machine, name, config, fill) {
    const work = fs.mkdtempSync(path.join(machine.dir, 'image-'));
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
    must('tar', '-C', layout, '-xf', machine.busyboxArchive());
    fill(layer);
    must('tar', '--numeric-owner', '-C', layer, '-cf', path.join(work, 'layer.tar'), '.');
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

module.exports = {makeImage};
