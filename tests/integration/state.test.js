// SPDX-License-Identifier: Apache-2.0
'use strict';
// The state directory is full, read-only, or of another boot or version, and a daemon has to deal with it.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {bigImage} = require('./support/images');
const {eventually, remains, failure, must} = require('./support/kit');

const STATE_MIB = 96;
let node;
before(async () => {
    node = new Node({});
    node.makeNetwork();
    fs.mkdirSync(node.stateDir);
    fs.chmodSync(node.stateDir, 0o711);
    must('mount', '-t', 'tmpfs', '-o', `size=${STATE_MIB}m,mode=0711`, 'crivirt-test', node.stateDir);
    node.mounts.push(node.stateDir);
    await node.startDaemon();
    await node.loadBusybox();
});
after(() => node.end());
afterEach(() => fs.rmSync(path.join(node.stateDir, 'fill'), {force: true}));

// To the last byte.
function fill() {
    const file = fs.openSync(path.join(node.stateDir, 'fill'), 'w');
    for (const size of [1 << 20, 4096, 1])
        try {
            for (;;)
                fs.writeSync(file, Buffer.alloc(size));
        } catch (error) {
            assert.strictEqual(error.code, 'ENOSPC');
        }
    fs.closeSync(file);
}
const free = () => fs.rmSync(path.join(node.stateDir, 'fill'));

test('on a full state disk new pods are refused with the reason, running containers run on, and no end is lost', async () => {
    const pod = await node.runPod();
    const stays = await node.runContainer(pod);
    const ends = await node.runContainer(pod, 'while [ ! -e /end ]; do sleep 0.2; done; exit 5');
    fill();
    const refusal = await failure(node.runPod());
    assert.match(refusal.details, /No space left|full/);
    assert.match(refusal.details, new RegExp(node.stateDir));
    assert.deepStrictEqual((await node.cri.call('ListPodSandbox')).items.map(({id}) => id), [pod.id]);
    await assert.rejects(node.create(pod), ({details}) => /No space left|full/.test(details));
    assert.strictEqual(await node.output(stays, 'echo inside'), 'inside');
    await node.exec(ends, 'touch /end');
    assert.strictEqual((await node.ended(ends)).exit_code, 5);
    await remains('the end is known', async () => (await node.containerStatus(ends)).exit_code === 5, 500);
    await node.stopDaemon('SIGKILL');
    free();
    await node.startDaemon();
    assert.strictEqual((await node.ended(ends)).exit_code, 5);
    assert.strictEqual((await node.containerStatus(stays)).state, 'CONTAINER_RUNNING');
    assert.strictEqual(await node.output(stays, 'echo inside'), 'inside');
    const more = await node.runContainer(pod, 'exit 6');
    assert.strictEqual((await node.ended(more)).exit_code, 6);
    await node.removePod(pod);
    await node.noLeaks();
});

test('on a full state disk a daemon starts, and a pod can be stopped and removed, which frees space', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, 'dd if=/dev/urandom of=/file bs=1M count=8 && sync; sleep 100000');
    await eventually('the file is on the disk', async () => /^8\d*$/m.test((await node.exec(container, 'stat -c %s /file')).stdout)
        && Number(must('du', '-sk', path.join(node.stateDir, 'pods')).split('\t')[0]) > 8000);
    fill();
    await node.restartDaemon('SIGKILL');
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    await node.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
    assert.deepStrictEqual((await node.cri.call('ListPodSandbox')).items, []);
    await node.noLeaks();
});

test('an image that does not fit on the state disk fails with the reason, leaves nothing, and does not harm other images', async () => {
    fill();
    const {images: [known]} = await node.cri.call('ListImages');
    await assert.rejects(node.cri.call('LoadImage', {path: otherImage()}), ({details}) => /No space left|full/.test(details));
    assert.deepStrictEqual((await node.cri.call('ListImages')).images, [known]);
    free();
    const {images: [loaded]} = await node.cri.call('LoadImage', {path: otherImage()});
    await node.cri.call('RemoveImage', {image: {image: loaded.id}});
});

// The archive of another image.
function otherImage() {
    const archive = path.join(node.dir, 'other.tar');
    if (fs.existsSync(archive))
        return archive;
    must('skopeo', 'copy', '-q', '--insecure-policy', bigImage(node, 2), `oci-archive:${archive}:docker.io/tests/other:1`);
    return archive;
}

test('on a state directory that became read-only new pods fail with the reason, and running ones can be used and stopped', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod);
    must('mount', '--bind', node.stateDir, node.stateDir);
    must('mount', '-o', 'remount,bind,ro', node.stateDir);
    try {
        const refusal = await failure(node.runPod());
        assert.match(refusal.details, /Read-only file system/);
        assert.strictEqual(await node.output(container, 'echo inside'), 'inside');
    } finally {
        must('umount', node.stateDir);
    }
    await node.removePod(pod);
    await node.noLeaks();
});

test('a daemon does not start on a read-only state directory, and its message says why', async () => {
    await node.stopDaemon();
    must('mount', '-o', 'remount,ro', node.stateDir);
    try {
        const daemon = node.spawn(node.daemonWords(), 'readonly.log');
        assert.notStrictEqual((await daemon.ended).code, 0);
        const log = fs.readFileSync(path.join(node.dir, 'readonly.log'), 'utf8');
        assert.match(log, /Read-only file system/);
        assert.match(log, new RegExp(node.stateDir));
    } finally {
        must('mount', '-o', 'remount,rw', node.stateDir);
    }
    await node.startDaemon();
});

test('a daemon refuses the state database of a newer one, names both versions, and changes nothing', async () => {
    await node.stopDaemon();
    const database = path.join(node.stateDir, 'state.db');
    const [version] = must('sqlite3', database, 'PRAGMA user_version').split('\n');
    must('sqlite3', database, 'PRAGMA user_version = 9999');
    const daemon = node.spawn(node.daemonWords(), 'newer.log');
    assert.notStrictEqual((await daemon.ended).code, 0);
    const log = fs.readFileSync(path.join(node.dir, 'newer.log'), 'utf8');
    assert.match(log, /9999/);
    assert.match(log, /newer/);
    must('sqlite3', database, `PRAGMA user_version = ${version}`);
    await node.startDaemon();
});

test('after a reboot pods are NOTREADY, containers have exited as Unknown, and all can be removed', async () => {
    const pod = await node.runPod({port_mappings: [{container_port: 80, host_port: 18080, protocol: 'TCP'}]});
    const volume = path.join(node.dir, 'volume');
    fs.mkdirSync(volume);
    const container = await node.runContainer(pod, {mounts: [{container_path: '/v', host_path: volume}]});
    await node.reboot();

    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    const end = await node.ended(container);
    assert.deepStrictEqual([end.exit_code, end.reason], [255, 'Unknown']);
    assert.match(end.message, /virtual machine/);
    const next = {...pod.config, metadata: {...pod.config.metadata, attempt: 1}};
    const {pod_sandbox_id: successor} = await node.cri.call('RunPodSandbox', {config: next});
    const again = await node.runContainer({id: successor, config: next}, 'exit 4');
    assert.strictEqual((await node.ended(again)).exit_code, 4);
    await node.removePod(pod);
    await node.removePod({id: successor});
    await node.noLeaks();
});
