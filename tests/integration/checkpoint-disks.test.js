// SPDX-License-Identifier: Apache-2.0
// CheckpointPod, RestorePod and HibernatePod of pods whose containers mount images.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const checkpoints = require('./support/checkpoints');
const {BUSYBOX, makeImage} = require('./support/images');
const {eventually, refused} = require('./support/kit');

let node;
before(async () => {
    node = await Node.start({templates: true, flags: ['--guest-vm-pool-size=0']});
});
after(() => node.end());
afterEach(() => node.removeAllPods());

const checkpoint = (...words) => checkpoints.checkpoint(node, ...words);
// Restores the containers and starts them. changes: a function of each configuration.
async function restore(checkpoint_path, containers, changes = () => ({})) {
    const restored = await checkpoints.restore(node, checkpoint_path, containers, {container: changes});
    for (const {id: container_id} of restored.containers)
        await node.cri.call('StartContainer', {container_id});
    return restored;
}
const manifestOf = (saved) => JSON.parse(fs.readFileSync(path.join(saved, 'manifest.json'), 'utf8'));

// Loads an image with the file /word, each time the same one. Return: its id.
const archives = {};
async function wordImage(name, word) {
    archives[name] ||= makeImage(node, name, {}, (layer) => fs.writeFileSync(path.join(layer, 'word'), `${word}\n`));
    return (await node.cri.call('LoadImage', {path: archives[name]})).images[0].id;
}

// ---- images ----

const DATA = 'docker.io/library/data:latest';
const OTHER = 'docker.io/library/other:latest';
const READER = 'exec 3</image/word; cd /part; echo ready; while ! [ -e /tmp/go ]; do sleep 0.1; done; cat <&3; ls passwd; echo over; exec sleep 100000';
const imageMounts = (image = DATA) => [
    {container_path: '/image', image: {image}, readonly: true},
    {container_path: '/part', image: {image: BUSYBOX}, image_sub_path: 'etc', readonly: true},
];
const finish = async (container) => {
    await node.output(container, 'touch /tmp/go');
    await eventually('it is over', () => fs.existsSync(container.log) && node.logTexts(container).includes('over'));
    return node.logTexts(container);
};

test('files of mounted images that are open go on in the restored pod, which keeps the images', async () => {
    const id = await wordImage(DATA, 'first');
    const pod = await node.runPod();
    const reader = await node.runContainer(pod, {command: ['/bin/sh', '-c', READER], mounts: imageMounts()});
    await eventually('it has opened the file', () => fs.existsSync(reader.log) && node.logTexts(reader).includes('ready'));
    const saved = await checkpoint(pod, [reader]);
    const {image: {id: busybox}} = await node.cri.call('ImageStatus', {image: {image: BUSYBOX}});
    assert.deepStrictEqual(manifestOf(saved).containers[0].images, [{mount: 0, image: id}, {mount: 1, image: busybox}]);
    await node.removePod(pod);

    const {pod: second, containers: [copy]} = await restore(saved, [reader]);
    assert.deepStrictEqual((await node.containerStatus(copy)).mounts.map(({image}) => image.image_ref), [id, busybox]);
    // The container's layers stay on the node without the image, also with the next daemon.
    await node.cri.call('RemoveImage', {image: {image: DATA}});
    await node.restartDaemon('SIGKILL');
    assert.deepStrictEqual(await finish(copy), ['first', 'passwd', 'over']);
    assert.match((await node.exec(copy, 'touch /image/x')).stderr, /Read-only/);
    const again = await checkpoint(second, [copy]);
    assert.deepStrictEqual(manifestOf(again).containers[0].images, [{mount: 0, image: id}, {mount: 1, image: busybox}]);
    await refused(restore(again, [copy]), 'NOT_FOUND', 'config.mounts[0].image', `image ${DATA} is not on this node`);
    await node.removePod(second);
    assert.strictEqual(await wordImage(DATA, 'first'), id);
    const {containers: [third]} = await restore(again, [copy]);
    assert.strictEqual(await node.output(third, 'cat /image/word'), 'first');
});

test('RestorePod refuses another image at a mount, by the number of the mount, and takes another name of the image', async () => {
    const id = await wordImage(DATA, 'first');
    const other = await wordImage(OTHER, 'second');
    const pod = await node.runPod();
    const reader = await node.runContainer(pod, {mounts: imageMounts()});
    const saved = await checkpoint(pod, [reader]);
    const [image, part] = imageMounts();
    const ask = (...mounts) => restore(saved, [reader], () => ({mounts}));
    await refused(ask({...image, image: {image: OTHER}}, part), 'FAILED_PRECONDITION', 'config.mounts[0].image', other, id, '/image');
    await refused(ask({...image, image: null, host_path: node.dir}, part), 'FAILED_PRECONDITION', 'config.mounts[0].image is missing');
    await refused(ask({...image, container_path: '/elsewhere'}, part), 'FAILED_PRECONDITION', 'config.mounts[0].container_path');
    await refused(ask(image, {...part, image_sub_path: 'bin'}), 'FAILED_PRECONDITION', 'config.mounts[1].image_sub_path');
    await refused(ask(image), 'FAILED_PRECONDITION', 'config.mounts');
    assert.deepStrictEqual(await node.listedPodIds(), [pod.id]);
    const {containers: [copy]} = await ask({...image, image: {image: id}}, part);
    assert.strictEqual(await node.output(copy, 'cat /image/word'), 'first');

    const plain = await node.runContainer(pod, {mounts: [{container_path: '/dir', host_path: node.dir}]});
    const without = await checkpoint(pod, [plain]);
    await refused(restore(without, [plain], () => ({mounts: [{container_path: '/dir', image: {image: DATA}}]})),
                  'FAILED_PRECONDITION', 'config.mounts[0].image', 'has no image at /dir');
});

test('a hibernated pod keeps the images that it has mounted, and wakes with them', async () => {
    await wordImage(DATA, 'first');
    const pod = await node.runPod();
    const reader = await node.runContainer(pod, {command: ['/bin/sh', '-c', READER], mounts: imageMounts()});
    await eventually('it has opened the file', () => fs.existsSync(reader.log) && node.logTexts(reader).includes('ready'));
    await node.cri.call('HibernatePod', {pod_sandbox_id: pod.id});
    await node.cri.call('RemoveImage', {image: {image: DATA}});
    await node.restartDaemon('SIGKILL');
    assert.deepStrictEqual(await finish(reader), ['ready', 'first', 'passwd', 'over']);
});
