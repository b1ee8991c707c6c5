'use strict';
// The state directory full, read-only, of another boot or version; what the next daemon makes of it.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually, must, sleep} = require('./support/kit');

const STATE_MIB = 96;
let machine;
before(async () => {
    machine = new Machine({});
    machine.makeNetwork();
    fs.mkdirSync(machine.stateDir);
    fs.chmodSync(machine.stateDir, 0o711);
    must('mount', '-t', 'tmpfs', '-o', `size=${STATE_MIB}m,mode=0711`, 'crivirt-test', machine.stateDir);
    machine.mounts.push(machine.stateDir);
    await machine.startDaemon();
    await machine.loadBusybox();
});
after(() => machine.end());
afterEach(() => fs.rmSync(path.join(machine.stateDir, 'fill'), {force: true}));

// To the last byte.
function fill() {
    const file = fs.openSync(path.join(machine.stateDir, 'fill'), 'w');
    for (const size of [1 << 20, 4096, 1])
        try {
            for (;;)
                fs.writeSync(file, Buffer.alloc(size));
        } catch (error) {
            assert.strictEqual(error.code, 'ENOSPC');
        }
    fs.closeSync(file);
}
const free = () => fs.rmSync(path.join(machine.stateDir, 'fill'));

test('on a full state disk what is new is refused clearly, what runs goes on, and no end is lost', async () => {
    const pod = await machine.runPod();
    const stays = await machine.runContainer(pod);
    const ends = await machine.runContainer(pod, 'while [ ! -e /end ]; do sleep 0.2; done; exit 5');
    fill();
    const refusal = await machine.runPod().then(() => null, (error) => error);
    assert.match(refusal.details, /No space left|full/);
    assert.match(refusal.details, new RegExp(machine.stateDir));
    assert.deepStrictEqual((await machine.cri.call('ListPodSandbox')).items.map(({id}) => id), [pod.id]);
    await assert.rejects(machine.create(pod), ({details}) => /No space left|full/.test(details));
    assert.strictEqual(await machine.output(stays, 'echo inside'), 'inside');
    await machine.exec(ends, 'touch /end');
    assert.strictEqual((await machine.ended(ends)).exit_code, 5);
    await sleep(500);
    await machine.stopDaemon('SIGKILL');
    free();
    await machine.startDaemon();
    assert.strictEqual((await machine.ended(ends)).exit_code, 5);
    assert.strictEqual((await machine.containerStatus(stays)).state, 'CONTAINER_RUNNING');
    assert.strictEqual(await machine.output(stays, 'echo inside'), 'inside');
    const more = await machine.runContainer(pod, 'exit 6');
    assert.strictEqual((await machine.ended(more)).exit_code, 6);
    await machine.removePod(pod);
    await machine.noLeaks();
});

test('on a full state disk a daemon starts, and a pod can be stopped and removed, which gives space back', async () => {
    const pod = await machine.runPod();
    const container = await machine.runContainer(pod, 'dd if=/dev/urandom of=/file bs=1M count=8 && sync; sleep 100000');
    await eventually('the file is on the disk', async () => /^8\d* /m.test(`${await machine.output(container, 'stat -c %s /file')} `)
        && Number(must('du', '-sk', path.join(machine.stateDir, 'pods')).split('\t')[0]) > 8000);
    fill();
    await machine.restartDaemon('SIGKILL');
    assert.strictEqual((await machine.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await machine.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    assert.strictEqual((await machine.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    await machine.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
    assert.deepStrictEqual((await machine.cri.call('ListPodSandbox')).items, []);
    await machine.noLeaks();
});

test('a pull onto a full state disk fails clearly, leaves nothing, and does not harm other images', async () => {
    fill();
    const {images: [known]} = await machine.cri.call('ListImages');
    await assert.rejects(machine.cri.call('LoadImage', {path: otherImage()}), ({details}) => /No space left|full/.test(details));
    assert.deepStrictEqual((await machine.cri.call('ListImages')).images, [known]);
    free();
    const {images: [loaded]} = await machine.cri.call('LoadImage', {path: otherImage()});
    await machine.cri.call('RemoveImage', {image: {image: loaded.id}});
});

// Busybox with another layer.
function otherImage() {
    const archive = path.join(machine.dir, 'other.tar');
    if (fs.existsSync(archive))
        return archive;
    const layout = path.join(machine.dir, 'other');
    const content = path.join(machine.dir, 'other-content');
    must('skopeo', 'copy', '-q', '--insecure-policy', `oci-archive:${machine.busyboxArchive()}`, `oci:${layout}:other`);
    fs.mkdirSync(content);
    must('dd', 'if=/dev/urandom', `of=${content}/random`, 'bs=1M', 'count=2', 'status=none');
    must('umoci', 'insert', '--image', `${layout}:other`, content, '/other');
    must('skopeo', 'copy', '-q', '--insecure-policy', `oci:${layout}:other`, `oci-archive:${archive}:docker.io/tests/other:1`);
    return archive;
}

test('a state directory that became read-only fails what is new clearly, and lets what runs be used and stopped', async () => {
    const pod = await machine.runPod();
    const container = await machine.runContainer(pod);
    must('mount', '--bind', machine.stateDir, machine.stateDir);
    must('mount', '-o', 'remount,bind,ro', machine.stateDir);
    try {
        const refusal = await machine.runPod().then(() => null, (error) => error);
        assert.match(refusal.details, /Read-only file system/);
        assert.strictEqual(await machine.output(container, 'echo inside'), 'inside');
    } finally {
        must('umount', machine.stateDir);
    }
    await machine.removePod(pod);
    await machine.noLeaks();
});

test('a daemon on a read-only state directory does not start, and says why', async () => {
    await machine.stopDaemon();
    must('mount', '-o', 'remount,ro', machine.stateDir);
    try {
        const daemon = machine.spawn(machine.daemonWords(), 'readonly.log');
        assert.notStrictEqual((await daemon.ended).code, 0);
        const log = fs.readFileSync(path.join(machine.dir, 'readonly.log'), 'utf8');
        assert.match(log, /Read-only file system/);
        assert.match(log, new RegExp(machine.stateDir));
    } finally {
        must('mount', '-o', 'remount,rw', machine.stateDir);
    }
    await machine.startDaemon();
});

test('a state database of a newer daemon is refused with both versions, and nothing is changed', async () => {
    await machine.stopDaemon();
    const database = path.join(machine.stateDir, 'state.db');
    const [version] = must('sqlite3', database, 'PRAGMA user_version').split('\n');
    must('sqlite3', database, 'PRAGMA user_version = 9999');
    const daemon = machine.spawn(machine.daemonWords(), 'newer.log');
    assert.notStrictEqual((await daemon.ended).code, 0);
    const log = fs.readFileSync(path.join(machine.dir, 'newer.log'), 'utf8');
    assert.match(log, /9999/);
    assert.match(log, /newer/);
    must('sqlite3', database, `PRAGMA user_version = ${version}`);
    await machine.startDaemon();
});

test('after a reboot pods are not ready, containers ended in an unknown way, and all can be removed', async () => {
    const pod = await machine.runPod({port_mappings: [{container_port: 80, host_port: 18080, protocol: 'TCP'}]});
    const volume = path.join(machine.dir, 'volume');
    fs.mkdirSync(volume);
    const container = await machine.runContainer(pod, {mounts: [{container_path: '/v', host_path: volume}]});
    await machine.stopDaemon('SIGKILL');
    // What a reboot takes: processes, mounts, namespaces, interfaces, rules, and the run directory. The boot has an id.
    machine.killGuests();
    for (const target of must('findmnt', '-rno', 'TARGET').split('\n').reverse())
        if (target.startsWith(machine.runDir))
            must('umount', '-l', target);
    fs.rmSync(machine.runDir, {recursive: true, force: true});
    machine.inNetwork('ip', 'link', 'del', 'cvt0');
    machine.inNetwork('sh', '-c', 'iptables -F -t nat; iptables -X -t nat; ip6tables -F -t nat; ip6tables -X -t nat');
    fs.writeFileSync(path.join(machine.stateDir, 'libvirt/boot-id'), 'an earlier one');
    await machine.startDaemon();

    assert.strictEqual((await machine.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    const end = await machine.ended(container);
    assert.deepStrictEqual([end.exit_code, end.reason], [255, 'Unknown']);
    assert.match(end.message, /virtual machine/);
    const next = {...pod.config, metadata: {...pod.config.metadata, attempt: 1}};
    const {pod_sandbox_id: successor} = await machine.cri.call('RunPodSandbox', {config: next});
    const again = await machine.runContainer({id: successor, config: next}, 'exit 4');
    assert.strictEqual((await machine.ended(again)).exit_code, 4);
    await machine.removePod(pod);
    await machine.removePod({id: successor});
    await machine.noLeaks();
});
