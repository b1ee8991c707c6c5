// SPDX-License-Identifier: Apache-2.0
// CheckpointPod, RestorePod and HibernatePod of pods whose containers mount images, or have block devices of the node.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const checkpoints = require('./support/checkpoints');
const {BUSYBOX, makeImage} = require('./support/images');
const {eventually, must, refused, serial} = require('./support/kit');

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

// ---- block devices ----

const MIB = 1 << 20;
// A file of 8 MiB whose second half begins with the word.
function rawFile(word, bytes = 8 * MIB) {
    const file = path.join(node.dir, `raw${serial()}`);
    fs.writeFileSync(file, '');
    fs.truncateSync(file, bytes);
    put(file, word);
    return file;
}
function put(file, word) {
    const fd = fs.openSync(file, 'r+');
    fs.writeSync(fd, Buffer.from(word), 0, word.length, 4 * MIB);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
}
const read = (file, at, length) => {
    const fd = fs.openSync(file, 'r');
    const bytes = Buffer.alloc(length);
    fs.readSync(fd, bytes, 0, length, at);
    fs.closeSync(fd);
    return bytes.toString();
};
// A loop device over such a file. It is removed after the test.
function loopDevice(context, word, bytes) {
    const file = rawFile(word, bytes);
    const device = must('losetup', '--find', '--show', file).trim();
    context.after(async () => {
        await node.removeAllPods();
        must('losetup', '--detach', device);
    });
    return device;
}
const isFree = (device) => {
    try {
        fs.closeSync(fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_EXCL));
        return true;
    } catch {
        return false;
    }
};
const devices = (disk, file) => [
    {container_path: '/dev/xvda', host_path: disk, permissions: 'mrw'}, {container_path: '/dev/raw', host_path: file, permissions: 'r'},
];
// Has the device open, and writes to it and reads from its second half when it is told to.
const HOLDER = `exec 3<>/dev/xvda; echo before >&3; sync; echo ready; while ! [ -e /tmp/go ]; do sleep 0.1; done
    echo after >&3; sync; dd if=/dev/xvda bs=1M skip=4 count=1 2>/dev/null | head -c 5; echo; echo over; exec sleep 100000`;
async function holderOf(pod, disk, file) {
    const holder = await node.runContainer(pod, {command: ['/bin/sh', '-c', HOLDER], devices: devices(disk, file)});
    await eventually('it has opened the device', () => fs.existsSync(holder.log) && node.logTexts(holder).includes('ready'));
    return holder;
}

test('a block device that is open goes on as another one of its size, and a file as a device as well', async (context) => {
    const [first, second] = [loopDevice(context, 'first'), loopDevice(context, 'other')];
    const [file, copy] = [rawFile('afile'), rawFile('bfile')];
    const pod = await node.runPod();
    const holder = await holderOf(pod, first, file);
    const mounter = await node.runContainer(pod, {mounts: [{container_path: '/dev/disk', host_path: first}]});
    const saved = await checkpoint(pod, [holder, mounter]);
    const blocks = manifestOf(saved).containers.map((one) => one.blocks);
    assert.deepStrictEqual(blocks[0].map((block) => [block.device, block.container_path, block.host_path, block.bytes]),
                           [[0, '/dev/xvda', first, 8 * MIB], [1, '/dev/raw', file, 8 * MIB]]);
    assert.deepStrictEqual([blocks[1][0].mount, blocks[1][0].lun], [0, blocks[0][0].lun]);
    assert.strictEqual(read(first, 0, 7), 'before\n'); // what the guest has written is on the device
    assert.strictEqual(await node.output(holder, 'echo inside'), 'inside');

    const {pod: restored, containers: [one, two]} = await restore(saved, [holder, mounter], ({devices: had}) => (
        had ? {devices: devices(second, copy)} : {mounts: [{container_path: '/dev/disk', host_path: second}]}));
    await node.restartDaemon('SIGKILL');
    assert.deepStrictEqual(await finish(one), ['other', 'over']);
    assert.strictEqual(read(second, 7, 6), 'after\n');
    assert.strictEqual(read(first, 7, 6), '\0'.repeat(6));
    assert.strictEqual(await node.output(one, 'dd if=/dev/raw bs=1M skip=4 count=1 2>/dev/null | head -c 5'), 'bfile');
    assert.notStrictEqual((await node.exec(one, 'echo x >/dev/raw')).exit_code, 0);
    assert.strictEqual(await node.output(two, 'dd if=/dev/disk bs=1M skip=4 count=1 2>/dev/null | head -c 5'), 'other');
    await node.remove(one);
    assert.strictEqual(await node.output(two, 'dd if=/dev/disk bs=1M skip=4 count=1 2>/dev/null | head -c 5'), 'other');
    await node.remove(two);
    await eventually('nobody has the device open', () => isFree(second));
    // A later container gets it again.
    const later = await node.runContainer(restored, {devices: devices(second, copy)});
    assert.strictEqual(await node.output(later, 'dd if=/dev/xvda bs=1M skip=4 count=1 2>/dev/null | head -c 5'), 'other');
});

test('RestorePod refuses a block device that is missing, of another size, in use, mounted, or not one as in the checkpoint', async (context) => {
    const [first, second, small] = [loopDevice(context, 'first'), loopDevice(context, 'other'), loopDevice(context, 'small', 6 * MIB)];
    const file = rawFile('afile');
    const pod = await node.runPod();
    const holder = await holderOf(pod, first, file);
    const twice = await node.runContainer(pod, {mounts: [{container_path: '/one', host_path: first}, {container_path: '/dir', host_path: node.dir}]});
    await refused(checkpoint(pod, [twice]), 'FAILED_PRECONDITION', 'block device "file', 'belongs to a container that is not saved');
    const saved = await checkpoint(pod, [holder, twice]);
    const ask = (had, mounts = [second, node.dir]) => restore(saved, [holder, twice], ({devices: one}) => (one && one.length
        ? {devices: had} : {mounts: [{container_path: '/one', host_path: mounts[0]}, {container_path: '/dir', host_path: mounts[1]}]}));
    const [disk, raw] = devices(second, file);
    await refused(ask([{...disk, host_path: '/dev/nothing-here'}, raw]), 'NOT_FOUND', 'config.devices[0].host_path', '/dev/nothing-here');
    await refused(ask([{...disk, host_path: small}, raw]), 'FAILED_PRECONDITION', 'config.devices[0].host_path', String(6 * MIB), String(8 * MIB));
    await refused(ask([{...disk, host_path: first}, raw]), 'FAILED_PRECONDITION', `${first} is in use by sandbox ${pod.id}`);
    await refused(ask([{...disk, container_path: '/dev/other'}, raw]), 'FAILED_PRECONDITION', 'config.devices[0].container_path');
    await refused(ask([{...disk, permissions: 'r'}, raw]), 'FAILED_PRECONDITION', 'config.devices[0].permissions');
    await refused(ask([disk]), 'FAILED_PRECONDITION', 'config.devices');
    await refused(ask([disk, {...raw, host_path: '/dev/null'}]), 'NOT_FOUND', 'config.devices[1].host_path', '/dev/null');
    await refused(ask([disk, raw], [file, node.dir]), 'NOT_FOUND', 'config.mounts[0].host_path');
    await refused(ask([disk, raw], [first, node.dir]), 'FAILED_PRECONDITION', 'are two block devices, and one in the checkpoint');
    await refused(ask([disk, raw], [second, small]), 'FAILED_PRECONDITION', 'config.mounts[1].host_path', `${small} is a block device`);
    must('mkfs.ext4', '-q', second);
    const place = path.join(node.dir, `mounted${serial()}`);
    fs.mkdirSync(place);
    must('mount', second, place);
    await refused(ask([disk, raw]), 'FAILED_PRECONDITION', 'config.devices[0].host_path', `${second} is in use on this node`, 'mounted');
    must('umount', place);
    assert.deepStrictEqual(await node.listedPodIds(), [pod.id]);

    await ask([disk, raw]);
    await refused(ask([disk, raw]), 'FAILED_PRECONDITION', `${second} is in use by sandbox`);
    const other = await node.runContainer(await node.runPod(), {devices: [{container_path: '/dev/none', host_path: '/dev/null', permissions: 'rw'}]});
    await refused(node.cri.call('CheckpointContainer', {container_id: other.id, location: path.join(node.dir, 'archive')}), 'FAILED_PRECONDITION', '/dev/null');
});

test('a hibernated pod wakes with its block devices, and not with others', async (context) => {
    const device = loopDevice(context, 'first');
    const file = rawFile('afile');
    const pod = await node.runPod();
    const holder = await holderOf(pod, device, file);
    const hibernate = () => node.cri.call('HibernatePod', {pod_sandbox_id: pod.id});
    const wake = () => node.cri.call('WakePod', {pod_sandbox_id: pod.id});
    await hibernate();
    await eventually('nobody has the device open', () => isFree(device));
    assert.strictEqual(read(device, 0, 7), 'before\n');
    await node.restartDaemon('SIGKILL');
    await wake();
    await hibernate();

    must('mkfs.ext2', '-q', device, '2048');
    const place = path.join(node.dir, `mounted${serial()}`);
    fs.mkdirSync(place);
    must('mount', device, place);
    await refused(wake(), 'FAILED_PRECONDITION', device, 'mounted');
    must('umount', place);
    put(device, 'still');
    fs.truncateSync(file, 7 * MIB);
    await refused(wake(), 'FAILED_PRECONDITION', 'other sizes', String(7 * MIB));
    fs.truncateSync(file, 8 * MIB);
    fs.renameSync(file, `${file}.away`);
    await refused(wake(), 'FAILED_PRECONDITION', 'file', 'not on the node any more');
    fs.renameSync(`${file}.away`, file);
    await wake();
    assert.deepStrictEqual(await finish(holder), ['ready', 'still', 'over']);
    assert.strictEqual(read(device, 7, 6), 'after\n');
    assert.strictEqual(await node.output(holder, 'dd if=/dev/raw bs=1M skip=4 count=1 2>/dev/null | head -c 5'), 'afile');
});
