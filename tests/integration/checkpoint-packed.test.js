// SPDX-License-Identifier: Apache-2.0
// Checkpoints that are compressed, encrypted, or both, as the section [checkpoint] of the configuration says.
'use strict';
const assert = require('assert');
const {spawnSync} = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {processesOf} = require('./support/processes');
const checkpoints = require('./support/checkpoints');
const {eventually, listing, must, refused, serial} = require('./support/kit');

const FILES = ['devices', 'disk', 'manifest.json', 'ram', 'request', 'volumes'];
const COUNTER = 'exec 3>>/volume/log; n=0; while sleep 0.1; do n=$((n + 1)); echo $n >&3; echo $n > /count; done';
const SECRET = 'the-secret-of-the-pod';
const DAMAGED = ['ram', 'disk', 'devices', 'request', 'volumes'];

let node, key, other;
before(async () => {
    node = await Node.start({templates: true});
    key = makeKey('key');
    other = makeKey('other');
});
after(() => node.end());
afterEach(() => node.removeAllPods());

function makeKey(name, mode = 0o600) {
    const file = path.join(node.dir, name);
    fs.writeFileSync(file, `${crypto.randomBytes(32).toString('hex')}\n`, {mode});
    return file;
}

const inForce = async () => JSON.parse((await node.cri.call('Status', {verbose: true})).info.config).checkpoint;
const directory = (name = 'directory') => node.directory(`${name}${serial()}`);
const checkpoint = (...words) => checkpoints.checkpoint(node, ...words);
const restore = (...words) => checkpoints.restore(node, ...words);
const number = (file) => Number(fs.readFileSync(file, 'utf8').trimEnd().split('\n').pop());
const manifestOf = (saved) => JSON.parse(fs.readFileSync(path.join(saved, 'manifest.json'), 'utf8'));
const scratch = () => listing(path.join(node.stateDir, 'checkpoint-archives'));
const quiet = () => eventually('nothing is under way', () => scratch().length === 0);

// Reloads the daemon with these options: {compression: 'zstd', key_files: […]}.
async function setOptions(options) {
    const wanted = {compression: 'none', level: 1, key_files: [], require_encryption: false, ...options};
    const lines = Object.entries(wanted).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
    fs.writeFileSync(node.configFile, `[checkpoint]\n${lines.join('\n')}\n`);
    process.kill(processesOf(node).find(({words}) => words[0].endsWith('/crivirtd')).pid, 'SIGHUP');
    await eventually('the options are in force', async () => {
        const now = await inForce();
        return Object.entries(wanted).every(([name, value]) => JSON.stringify(now[name]) === JSON.stringify(value));
    });
}

// A pod that counts into a volume and has a secret in memory and on its disk.
async function counter() {
    const data = directory('data');
    const pod = await node.runPod({hostname: 'before'});
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', `secret=${SECRET}; echo $secret > /secret; sync; ${COUNTER}`],
        mounts: [{container_path: '/volume', host_path: data}],
    });
    await eventually('it counts', () => listing(data).includes('log') && number(path.join(data, 'log')) > 3);
    return {pod, container, data};
}

// Restores the container with a copy of its volume, and asserts that it counts on from there.
async function goesOn(saved, {container, data}) {
    const copy = directory('copy');
    must('cp', '-a', `${data}/.`, copy);
    const last = number(path.join(copy, 'log'));
    const {pod, containers: [one]} = await restore(saved, [container], {
        pod: {hostname: 'after'}, container: ({mounts}) => ({mounts: mounts.map((mount) => ({...mount, host_path: copy}))}),
    });
    await node.cri.call('StartContainer', {container_id: one.id});
    await eventually('it counts on', () => number(path.join(copy, 'log')) > last);
    assert.strictEqual(await node.output(one, 'hostname; cat /secret'), `after\n${SECRET}`);
    await node.removePod(pod);
}

// Whether the text is in the file, whose holes are skipped.
const holds = (file, text) => spawnSync(
    'sh', ['-c', 'tar -cSf - -C "$0" "$1" | grep -aqF "$2"', path.dirname(file), path.basename(file), text]).status === 0;

for (const [name, options] of Object.entries({
    compressed: () => ({compression: 'zstd', level: 3}),
    encrypted: () => ({key_files: [key]}),
    'compressed and encrypted': () => ({compression: 'zstd', key_files: [key]}),
})) {
    test(`a pod with a volume goes on from a checkpoint that is ${name}`, async () => {
        await setOptions({compression: 'none'});
        const saved = await counter();
        const plain = await checkpoint(saved.pod, [saved.container]);
        await setOptions(options());
        const packed = await checkpoint(saved.pod, [saved.container]);
        const encrypts = 'key_files' in options();
        assert.deepStrictEqual(fs.readdirSync(packed).sort(), [...FILES, ...(encrypts ? ['manifest.mac'] : [])].sort());
        for (const file of fs.readdirSync(packed))
            assert.strictEqual(fs.statSync(path.join(packed, file)).mode & 0o777, 0o600, file);
        const manifest = manifestOf(packed);
        assert.strictEqual(manifest.format, '2');
        assert.strictEqual(manifestOf(plain).format, '1');
        assert.strictEqual(manifest.packing.encryption, encrypts ? 'aes-256-gcm' : 'none');
        assert.strictEqual(manifest.ram.stored_bytes, fs.statSync(path.join(packed, 'ram')).size);
        if (options().compression)
            assert.ok(manifest.ram.stored_bytes < manifest.ram.data_bytes * 0.7, JSON.stringify(manifest.ram));
        assert.ok(holds(path.join(plain, 'ram'), SECRET));
        if (encrypts)
            for (const file of fs.readdirSync(packed))
                assert.ok(!holds(path.join(packed, file), SECRET), file);
        await goesOn(packed, saved);
        await goesOn(plain, saved); // whatever the options are
        await quiet();
        await node.removePod(saved.pod);
        await node.noLeaks();
    });
}

test('an archive of a container is compressed and encrypted, and goes on by RestorePod and by crivirt restore', async () => {
    await setOptions({compression: 'zstd', key_files: [key]});
    const saved = await counter();
    const archive = path.join(directory(), 'archive.tar');
    await node.cri.call('CheckpointContainer', {container_id: saved.container.id, location: archive, timeout: 300});
    assert.deepStrictEqual(must('tar', '-tf', archive).trim().split('\n').sort(), [...FILES, 'manifest.mac'].sort());
    assert.ok(!holds(archive, SECRET));
    await goesOn(archive, saved);

    const failed = await node.cli('restore', '--name', 'again', archive);
    assert.strictEqual(failed.code, 1);
    assert.match(failed.stderr, /encrypted with the key [0-9a-f]{16}, and no key file is given/);
    const wrong = await node.cli('restore', '--key-file', other, '--name', 'again', archive);
    assert.strictEqual(wrong.code, 1);
    assert.match(wrong.stderr, new RegExp(`which is not in ${other}`));
    const done = await node.cli('restore', '--key-file', key, '--allow-node-paths', '--name', 'again', archive);
    assert.strictEqual(done.code, 0, done.stderr);
    node.podIds.push(done.stdout.trim());
    await quiet();
});

test('wrong, missing and open keys are refused by name, before a pod stands still, and leave no sandbox', async () => {
    await setOptions({key_files: [key]});
    const saved = await counter();
    const packed = await checkpoint(saved.pod, [saved.container]);
    const missing = path.join(node.dir, 'no-key');
    const open = makeKey('open', 0o644);
    const bad = path.join(node.dir, 'bad');
    fs.writeFileSync(bad, 'not a key', {mode: 0o600});
    const before = await node.listedPodIds();
    for (const [files, ...words] of [
        [[other], manifestOf(packed).packing.key, other], [[], 'no key file is given'], [[missing], missing, 'No such file'],
        [[open], open, '0644', 'chmod 600'], [[bad], bad, '64 hexadecimal digits'],
    ]) {
        await setOptions({key_files: files});
        await refused(restore(packed, [saved.container]), 'FAILED_PRECONDITION', ...words);
        if (files.length === 0 || files[0] === other)
            continue;
        const output_path = directory();
        await refused(node.cri.call('CheckpointPod', {pod_sandbox_id: saved.pod.id, output_path, container_ids: [saved.container.id]}),
                      'FAILED_PRECONDITION', ...words);
        assert.deepStrictEqual(fs.readdirSync(output_path), []);
    }
    assert.deepStrictEqual(await node.listedPodIds(), before);
    await quiet();
    await setOptions({key_files: [other, key]}); // a key that was replaced is still known
    await goesOn(packed, saved);
});

test('a checkpoint that is not encrypted is refused where encryption is required', async () => {
    await setOptions({compression: 'zstd'});
    const saved = await counter();
    const packed = await checkpoint(saved.pod, [saved.container]);
    await setOptions({require_encryption: true});
    await refused(checkpoint(saved.pod, [saved.container]), 'FAILED_PRECONDITION', 'checkpoint.require_encryption', 'checkpoint.key_files');
    await setOptions({require_encryption: true, key_files: [key]});
    await refused(restore(packed, [saved.container]), 'FAILED_PRECONDITION', 'is not encrypted', 'checkpoint.require_encryption');
    await goesOn(await checkpoint(saved.pod, [saved.container]), saved);
});

test('a damaged packed checkpoint is refused by the name of the file, and leaves no pod', async () => {
    for (const options of [{compression: 'zstd'}, {key_files: [key]}]) {
        await setOptions(options);
        const saved = await counter();
        const packed = await checkpoint(saved.pod, [saved.container]);
        await node.removePod(saved.pod);
        for (const file of [...DAMAGED, ...(options.key_files ? ['manifest.json'] : [])]) {
            const name = path.join(packed, file);
            const whole = fs.readFileSync(name);
            const damaged = Buffer.from(whole);
            const place = file === 'manifest.json' ? damaged.indexOf('before') : damaged.length >> 1;
            damaged[Math.max(place, 1)] ^= 1;
            fs.writeFileSync(name, damaged);
            await refused(restore(packed, [saved.container]), 'DATA_LOSS', file);
            fs.writeFileSync(name, whole.subarray(0, whole.length - 1));
            await refused(restore(packed, [saved.container]), 'DATA_LOSS', file);
            fs.writeFileSync(name, whole);
        }
        assert.deepStrictEqual(await node.listedPodIds(), []);
        await node.noLeaks();
        await goesOn(packed, saved);
    }
});

test('CheckpointPod gives up at its deadline while it packs, and leaves nothing', async () => {
    await setOptions({compression: 'zstd', level: 19, key_files: [key]});
    const saved = await counter();
    const output_path = directory();
    const call = (ms) => node.cri.call('CheckpointPod',
                                       {pod_sandbox_id: saved.pod.id, output_path, container_ids: [saved.container.id]}, ms);
    for (let ms = 200; ms < 2500; ms += 230) {
        await call(ms).catch(() => {});
        await eventually('the checkpoint is whole or gone', () => [0, FILES.length + 1].includes(fs.readdirSync(output_path).length));
        await quiet();
        for (const file of fs.readdirSync(output_path))
            fs.rmSync(path.join(output_path, file));
    }
    assert.strictEqual(await node.output(saved.container, 'echo inside'), 'inside');
});

test('a daemon that is killed while it packs leaves nothing, and the pod goes on', async () => {
    await setOptions({compression: 'zstd', level: 19, key_files: [key]});
    const saved = await counter();
    const output_path = directory();
    const call = node.cri.call('CheckpointPod', {pod_sandbox_id: saved.pod.id, output_path, container_ids: [saved.container.id]});
    call.catch(() => {});
    await eventually('it packs', () => fs.readdirSync(output_path).includes('ram'));
    await node.restartDaemon('SIGKILL');
    assert.deepStrictEqual(fs.readdirSync(output_path), []);
    assert.deepStrictEqual(scratch(), []);
    const last = number(path.join(saved.data, 'log'));
    await eventually('it counts on', () => number(path.join(saved.data, 'log')) > last);
});

test('nothing of a key is in the log, in the configuration in force, or in the archive for support', async () => {
    await setOptions({compression: 'zstd', key_files: [key]});
    const saved = await counter();
    await goesOn(await checkpoint(saved.pod, [saved.container]), saved);
    const text = fs.readFileSync(key, 'utf8').trim();
    const archive = path.join(node.dir, `support${serial()}.tar.gz`);
    const {code, stderr} = await node.cli('support', '-o', archive);
    assert.strictEqual(code, 0, stderr);
    assert.ok(!must('tar', '-xzOf', archive).includes(text));
    assert.ok(!node.daemonLog().includes(text));
    assert.ok(!JSON.stringify(await inForce()).includes(text));
    assert.ok(JSON.stringify(await inForce()).includes(key)); // the name of its file is
});
