// SPDX-License-Identifier: Apache-2.0
// CheckpointPod and RestorePod: a pod goes on where it was saved, as another pod.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {programs} = require('./support/environment');
const checkpoints = require('./support/checkpoints');
const {BUSYBOX} = require('./support/images');
const {command, eventually, must, refused, serial} = require('./support/kit');

const FILES = ['devices', 'disk', 'manifest.json', 'ram', 'request'];

// Counts in memory; each count is a line of the log and the content of a file on the pod's disk.
const COUNTER = 'n=0; while sleep 0.1; do n=$((n + 1)); echo $n; echo $n > /count; done';

let node;
before(async () => {
    node = await Node.start({templates: true});
});
after(() => node.end());
afterEach(() => node.removeAllPods());

const directory = () => {
    const made = path.join(node.dir, `checkpoint${serial()}`);
    fs.mkdirSync(made);
    return made;
};

const checkpoint = (...words) => checkpoints.checkpoint(node, ...words);
const restore = (...words) => checkpoints.restore(node, ...words);
const start = (container) => node.cri.call('StartContainer', {container_id: container.id});
const count = async (container) => Number(await node.output(container, 'cat /count'));
const numbers = (container) => node.logTexts(container).map(Number);

test('a restored pod goes on counting where it was saved, under another name and address', async () => {
    const pod = await node.runPod({hostname: 'before'});
    const counter = await node.runContainer(pod, COUNTER);
    await eventually('it has counted', async () => fs.existsSync(counter.log) && numbers(counter).length > 5);
    const saved = await checkpoint(pod, [counter]);
    assert.deepStrictEqual(fs.readdirSync(saved).sort(), FILES);
    for (const file of FILES)
        assert.strictEqual(fs.statSync(path.join(saved, file)).mode & 0o777, 0o600, file);

    const atSave = numbers(counter).length;
    await eventually('the saved pod goes on', () => numbers(counter).length > atSave + 5);
    const address = (await node.podStatus(pod)).network.ip;

    const {pod: other, containers: [restored]} = await restore(saved, [counter], {pod: {hostname: 'after'}});
    assert.notStrictEqual((await node.podStatus(other)).network.ip, address);
    assert.strictEqual((await node.containerStatus(restored)).state, 'CONTAINER_CREATED');
    await start(restored);
    assert.strictEqual((await node.containerStatus(restored)).state, 'CONTAINER_RUNNING');
    await eventually('the restored pod counts', () => fs.existsSync(restored.log) && numbers(restored).length > 5);
    assert.strictEqual(await node.output(restored, 'hostname'), 'after');
    assert.match(await node.output(restored, 'ip -4 addr show eth0'), new RegExp((await node.podStatus(other)).network.ip));
    assert.doesNotMatch(await node.output(restored, 'ip -4 addr show eth0'), new RegExp(`${address}/`));

    // What was written before is in the log of the pod that was saved, what is written afterwards in the other's.
    const [first, ...rest] = numbers(restored);
    const before = numbers(counter);
    rest.forEach((number, i) => assert.strictEqual(number, first + i + 1));
    before.forEach((number, i) => assert.strictEqual(number, i + 1));
    assert.ok(first > 5 && first <= before.length + 1, `${first} of ${before.length}`);
    await eventually('the file is not being written', async () => await count(restored) >= first);
});

// ---- what goes on ----

// Return: {pod, container, saved} of a pod that was saved once it had counted.
async function savedCounter(more = {}) {
    const pod = await node.runPod(more.pod);
    const container = await node.runContainer(pod, {command: ['/bin/sh', '-c', COUNTER], ...more.container});
    await eventually('it counts', () => fs.existsSync(container.log) && numbers(container).length > 2);
    return {pod, container, saved: await checkpoint(pod, [container])};
}

test('one checkpoint is restored twice, and the twins differ in what must differ', async () => {
    const {pod, container, saved} = await savedCounter();
    await node.removePod(pod);
    const twins = [await restore(saved, [container]), await restore(saved, [container])];
    for (const {containers: [one]} of twins)
        await start(one);
    const asked = 'od -An -N16 -tx1 /dev/urandom; cat /sys/class/net/eth0/address; ip -o -4 addr show eth0 | cut -d " " -f 7';
    const [first, second] = [await node.output(twins[0].containers[0], asked), await node.output(twins[1].containers[0], asked)];
    const lines = (text) => text.split('\n').map((line) => line.trim());
    for (let i = 0; i < 3; i++)
        assert.notStrictEqual(lines(first)[i], lines(second)[i]);
    for (const {containers: [one]} of twins)
        await eventually('a twin counts', () => fs.existsSync(one.log) && numbers(one).length > 2);
});

test('memory, open files, child processes and memory volumes are those of the moment', async () => {
    const pod = await node.runPod({linux: {resources: {memory_limit_in_bytes: 300 << 20}}});
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', `
            head -c 60000000 /dev/urandom > /dev/shm/big; md5sum < /dev/shm/big > /sum
            exec 5>>/held; echo before >&5; rm /held
            mkdir /kept; echo kept > /kept/file
            sleep 98765 & echo ready
            while ! [ -e /go ]; do sleep 0.1; done
            echo after >&5; wc -l < /proc/self/fd/5
            md5sum < /dev/shm/big | cmp - /sum && echo same; exec sleep 100000`],
    });
    await eventually('it is ready', () => fs.existsSync(container.log) && node.logTexts(container).includes('ready'));
    const saved = await checkpoint(pod, [container]);
    await node.output(container, 'echo changed > /kept/file; touch /later');
    await node.removePod(pod);

    const {containers: [restored]} = await restore(saved, [container], {pod: {linux: {resources: {memory_limit_in_bytes: 300 << 20}}}});
    await start(restored);
    assert.strictEqual(await node.output(restored, `
        cat /kept/file; ls / | grep -c later
        for one in /proc/[0-9]*/cmdline; do [ "$(tr '\\0' ' ' < $one)" != 'sleep 98765 ' ] || echo child; done`), 'kept\n0\nchild');
    await node.output(restored, 'touch /go');
    await eventually('it has gone on', () => fs.existsSync(restored.log) && node.logTexts(restored).includes('same'));
    assert.deepStrictEqual(node.logTexts(restored), ['2', 'same']);
});

test('a server listens at the new address, and a connection of the old one ends', async () => {
    const server = await node.runPod();
    const serving = await node.runContainer(server, 'while :; do nc -l -p 7000 -e sleep 100000; done');
    const {ip} = (await node.podStatus(server)).network;
    const pod = await node.runPod();
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', `
            (while :; do echo served | nc -l -p 8080; done) &
            while :; do nc ${ip} 7000 < /dev/zero >/dev/null; echo "ended $?"; sleep 1; done`],
    });
    await eventually('it is connected', async () => (await node.exec(container, `netstat -tn | grep -q "${ip}:7000.*ESTABLISHED"`)).exit_code === 0);
    const saved = await checkpoint(pod, [container]);
    assert.strictEqual((await node.exec(container, `netstat -tn | grep -q "${ip}:7000.*ESTABLISHED"`)).exit_code, 0, 'the saved pod is still connected');

    const {pod: other, containers: [restored]} = await restore(saved, [container]);
    await start(restored);
    await eventually('the connection has ended', () => fs.existsSync(restored.log) && node.logTexts(restored).some((line) => line.startsWith('ended')));
    const address = (await node.podStatus(other)).network.ip;
    await eventually('the restored pod serves', async () => (await node.exec(serving, `nc -w 5 ${address} 8080 </dev/null`)).stdout.trim() === 'served');
    assert.strictEqual((await node.exec(container, `netstat -tn | grep -q "${ip}:7000.*ESTABLISHED"`)).exit_code, 0, 'the saved pod is still connected');
});

test('containers that were not chosen, and those that had ended, are not in the restored pod', async () => {
    const pod = await node.runPod();
    const ended = await node.runContainer(pod, 'exit 3');
    await node.ended(ended);
    const left = await node.runContainer(pod, 'echo left; exec sleep 54321');
    const created = await node.create(pod);
    const counter = await node.runContainer(pod, COUNTER);
    const saved = await checkpoint(pod, [counter]);
    for (const one of [left, counter])
        assert.strictEqual((await node.containerStatus(one)).state, 'CONTAINER_RUNNING');
    await start(created);
    await node.removePod(pod);

    const {pod: other, containers: [restored]} = await restore(saved, [counter]);
    const listed = (await node.cri.call('ListContainers', {filter: {pod_sandbox_id: other.id}})).containers;
    assert.deepStrictEqual(listed.map(({id}) => id), [restored.id]);
    await start(restored);
    await eventually('it counts', () => fs.existsSync(restored.log) && numbers(restored).length > 2);
    const more = await node.runContainer(other, 'echo more'); // the pod is like any other
    assert.strictEqual((await node.ended(more)).exit_code, 0);
    assert.deepStrictEqual(node.logTexts(more), ['more']);
});

test('a pod that has grown is restored with its size', async () => {
    const limits = {memory_limit_in_bytes: 600 << 20, cpu_quota: 200000, cpu_period: 100000};
    const {pod, container, saved} = await savedCounter({pod: {linux: {resources: limits}}});
    await node.removePod(pod);
    const {containers: [restored]} = await restore(saved, [container], {pod: {linux: {resources: limits}}});
    await start(restored);
    assert.strictEqual(await node.output(restored, 'grep -c ^processor /proc/cpuinfo'), '2');
    assert.ok(Number(await node.output(restored, 'sed -n "s/MemTotal: *\\([0-9]*\\) kB/\\1/p" /proc/meminfo')) > 600 << 10);
    await eventually('it counts', () => fs.existsSync(restored.log) && numbers(restored).length > 2);
});

test('a restored pod is saved again, and goes on from there', async () => {
    const {pod, container, saved} = await savedCounter();
    await node.removePod(pod);
    const first = await restore(saved, [container]);
    await start(first.containers[0]);
    await eventually('it counts', () => fs.existsSync(first.containers[0].log) && numbers(first.containers[0]).length > 5);
    const last = numbers(first.containers[0]).pop();
    const again = await checkpoint(first.pod, first.containers);
    const second = await restore(again, first.containers);
    await start(second.containers[0]);
    await eventually('it counts on', () => fs.existsSync(second.containers[0].log) && numbers(second.containers[0]).length > 2);
    assert.ok(numbers(second.containers[0])[0] >= last);
});

test('limits of the restored container are those of the request', async () => {
    const {pod, container, saved} = await savedCounter({container: {linux: {resources: {memory_limit_in_bytes: 64 << 20}}}});
    await node.removePod(pod);
    const {containers: [restored]} = await restore(saved, [container], {container: {
        linux: {resources: {memory_limit_in_bytes: 96 << 20}}, labels: {a: 'b'}, metadata: {...container.config.metadata, attempt: 4}}});
    await start(restored);
    assert.strictEqual(await node.output(restored, 'cat /sys/fs/cgroup/memory.max'), String(96 << 20));
    const status = await node.containerStatus(restored);
    assert.strictEqual(status.labels.a, 'b');
    assert.strictEqual(status.metadata.attempt, 4);
});

test('a restored container waits for StartContainer across a restart of the daemon, and can be removed unstarted', async () => {
    const {pod, container, saved} = await savedCounter();
    await node.removePod(pod);
    const {containers: [restored]} = await restore(saved, [container]);
    await node.restartDaemon('SIGKILL');
    assert.strictEqual((await node.containerStatus(restored)).state, 'CONTAINER_CREATED');
    assert.ok(!fs.existsSync(restored.log));
    await start(restored);
    await eventually('it counts', () => fs.existsSync(restored.log) && numbers(restored).length > 2);
    await node.restartDaemon('SIGKILL');
    assert.strictEqual(await node.output(restored, 'echo inside'), 'inside');
    const had = numbers(restored).length;
    await eventually('it counts on', () => numbers(restored).length > had + 2);
    const all = numbers(restored);
    all.forEach((number, i) => assert.strictEqual(number, all[0] + i));

    const {pod: second, containers: [unstarted]} = await restore(saved, [container]);
    await node.cri.call('StopContainer', {container_id: unstarted.id, timeout: 0});
    await node.cri.call('RemoveContainer', {container_id: unstarted.id});
    const fresh = await node.runContainer(second, 'echo fresh');
    assert.strictEqual((await node.ended(fresh)).exit_code, 0);
});

test('execs of the saved pod go on in it, and are hung up in the restored one', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod);
    const exec = node.exec(container, 'while ! [ -e /stop ]; do echo tick; echo tick >> /ticks; sleep 0.1; done');
    const ticks = async (one) => Number(await node.output(one, 'wc -l < /ticks'));
    await eventually('it runs', async () => (await node.exec(container, 'test -e /ticks')).exit_code === 0);
    const saved = await checkpoint(pod, [container]);
    const had = await ticks(container);
    await eventually('it goes on', async () => await ticks(container) > had + 2);
    await node.output(container, 'touch /stop');
    assert.strictEqual((await exec).exit_code, 0);
    const {containers: [restored]} = await restore(saved, [container]);
    await start(restored);
    await eventually('it has ended', async () => await ticks(restored) === Number(await node.output(restored, 'sleep 1; wc -l < /ticks')));
    assert.strictEqual(await node.output(restored, 'echo inside'), 'inside');
});

// ---- what is refused ----

test('CheckpointPod refuses what it cannot save, and leaves the directory empty', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod);
    const unstarted = await node.create(pod);
    const other = await node.runContainer(await node.runPod());
    const output_path = directory();
    const {cri} = node;
    const ask = (more) => cri.call('CheckpointPod', {pod_sandbox_id: pod.id, output_path, container_ids: [container.id], ...more});
    await refused(ask({pod_sandbox_id: 'none'}), 'NOT_FOUND', 'none');
    await refused(ask({container_ids: []}), 'INVALID_ARGUMENT', 'container_ids', 'empty');
    await refused(ask({container_ids: [container.id, container.id]}), 'INVALID_ARGUMENT', 'twice');
    await refused(ask({container_ids: [unstarted.id]}), 'FAILED_PRECONDITION', 'is not running');
    await refused(ask({container_ids: [other.id]}), 'INVALID_ARGUMENT', 'is not of sandbox');
    await refused(ask({options: {leaveRunning: 'true'}}), 'INVALID_ARGUMENT', 'leaveRunning');
    await refused(ask({output_path: 'relative'}), 'INVALID_ARGUMENT', 'not absolute');
    await refused(ask({output_path: path.join(output_path, 'none')}), 'NOT_FOUND', 'none');
    assert.deepStrictEqual(fs.readdirSync(output_path), []);
    fs.writeFileSync(path.join(output_path, 'mine'), 'x');
    await refused(ask(), 'FAILED_PRECONDITION', 'is not empty');
    assert.deepStrictEqual(fs.readdirSync(output_path), ['mine']);
    assert.strictEqual(await node.output(container, 'echo inside'), 'inside');
});

test('CheckpointPod gives up at its deadline, and the pod goes on', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, COUNTER);
    await eventually('it counts', () => fs.existsSync(container.log) && numbers(container).length > 2);
    const directories = [];
    // At every point of it: freezing, the devices, the memory, the disk, the digests.
    for (let ms = 10; ms < 500; ms += 17) {
        const output_path = directory();
        directories.push(output_path);
        await node.cri.call('CheckpointPod', {pod_sandbox_id: pod.id, output_path, container_ids: [container.id]}, ms).catch(() => {});
    }
    for (const one of directories)
        await eventually('the checkpoint is whole or gone', () => fs.readdirSync(one).length === 0 || fs.existsSync(path.join(one, 'manifest.json')));
    const had = numbers(container).length;
    await eventually('it counts on', () => numbers(container).length > had + 2);
    assert.strictEqual(await node.output(container, 'echo inside'), 'inside');
});

test('RestorePod refuses what is not in the checkpoint, by name, and leaves no pod', async () => {
    const {pod, container, saved} = await savedCounter();
    await node.removePod(pod);
    const {cri} = node;
    const config = node.podConfig();
    const ask = (more = {}, container_more = {}) => cri.call('RestorePod', {
        checkpoint_path: saved, config, container_configs: [{...container.config, ...container_more}], ...more});
    await refused(ask({checkpoint_path: 'relative'}), 'INVALID_ARGUMENT', 'not absolute');
    await refused(ask({checkpoint_path: directory()}), 'NOT_FOUND', 'manifest.json');
    await refused(ask({container_configs: []}), 'INVALID_ARGUMENT', 'container_configs');
    await refused(ask({container_configs: [container.config, container.config]}), 'INVALID_ARGUMENT', 'twice');
    await refused(ask({options: {a: 'b'}}), 'INVALID_ARGUMENT', '"a"');
    await refused(ask({runtime_handler: 'none'}), 'INVALID_ARGUMENT', 'none');
    await refused(ask({}, {metadata: {name: 'another'}}), 'FAILED_PRECONDITION', 'no container another');
    await refused(ask({container_configs: [container.config, node.containerConfig()]}), 'FAILED_PRECONDITION', 'no container');
    await refused(ask({}, {command: ['/bin/other']}), 'FAILED_PRECONDITION', 'config.command');
    await refused(ask({}, {envs: [{key: 'a', value: Buffer.from('b')}]}), 'FAILED_PRECONDITION', 'config.envs');
    await refused(ask({}, {working_dir: '/srv'}), 'FAILED_PRECONDITION', 'config.working_dir');
    await refused(ask({}, {tty: true}), 'FAILED_PRECONDITION', 'config.tty');
    await refused(ask({}, {linux: {security_context: {run_as_user: {value: 5}}}}), 'FAILED_PRECONDITION', 'config.linux.security_context');
    await refused(ask({}, {image: {image: 'none:latest'}}), 'NOT_FOUND', 'none');
    await refused(ask({config: {...config, linux: {security_context: {namespace_options: {network: 'NODE'}}}}}), 'INVALID_ARGUMENT', 'network');
    assert.deepStrictEqual(await node.listedPodIds(), []);
    await node.noLeaks();

    const {pod: restored} = await restore(saved, [container]);
    await refused(cri.call('RestorePod', {checkpoint_path: saved, config: restored.config, container_configs: [container.config]}),
                  'ALREADY_EXISTS', restored.id);
});

function changeByte(file, place) {
    const fd = fs.openSync(file, 'r+');
    const byte = Buffer.alloc(1);
    fs.readSync(fd, byte, 0, 1, place);
    fs.writeSync(fd, Buffer.from([byte[0] ^ 1]), 0, 1, place);
    fs.closeSync(fd);
}

test('a damaged checkpoint is refused by the name of the file, and leaves no pod', async () => {
    const {pod, container, saved} = await savedCounter();
    await node.removePod(pod);
    // The kernel in memory, the magic number of ext4.
    for (const [file, place] of [['ram', 16 << 20], ['disk', 1080], ['devices', 100], ['request', 5]]) {
        const name = path.join(saved, file);
        changeByte(name, place);
        await refused(restore(saved, [container]), 'DATA_LOSS', file, 'damaged');
        changeByte(name, place);
    }
    assert.deepStrictEqual(await node.listedPodIds(), []);
    await node.noLeaks();
    const {containers: [restored]} = await restore(saved, [container]); // it is whole again
    await start(restored);
    assert.strictEqual(await node.output(restored, 'echo inside'), 'inside');
});

test('crivirt checkpoint and restore make a pod that goes on under another name', async () => {
    const directory = path.join(node.dir, 'by-command');
    const logs = path.join(node.dir, 'command-logs');
    const crivirt = (...words) => must(programs.crivirt, '--socket', node.socket, '--log-dir', logs, ...words).trim();
    crivirt('run', '-d', '--name', 'saved', BUSYBOX, 'sh', '-c', COUNTER);
    await eventually('it counts', () => crivirt('logs', 'saved').split('\n').length > 3);
    assert.strictEqual(crivirt('checkpoint', 'saved', directory), directory);
    const failed = await command(programs.crivirt, ['--socket', node.socket, 'checkpoint', 'saved', directory]);
    assert.strictEqual(failed.code, 1);
    assert.match(failed.stderr, /is not empty/);
    crivirt('rm', '-f', 'saved');
    crivirt('restore', '--name', 'restored', directory);
    await eventually('it counts on', () => crivirt('logs', 'restored').split('\n').length > 3);
    assert.ok(Number(crivirt('logs', 'restored').split('\n')[0]) > 3);
    crivirt('restore', '--name', 'waiting', '--no-start', directory);
    assert.match(crivirt('ps', '-a'), /waiting/);
    crivirt('start', 'waiting');
    await eventually('it counts on', () => crivirt('logs', 'waiting').split('\n').length > 3);
    crivirt('rm', '-f', 'restored', 'waiting');
    assert.deepStrictEqual(fs.readdirSync(logs), []);
    assert.match((await command(programs.crivirt, ['--socket', node.socket, 'restore', node.dir])).stderr, /is not a checkpoint/);
});

// ---- archives ----

test('a container is saved as an archive, alone and for its owner only, and goes on from it', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, COUNTER);
    const other = await node.runContainer(pod);
    await eventually('it counts', () => fs.existsSync(container.log) && numbers(container).length > 2);
    const location = path.join(directory(), 'archive.tar');
    const save = (more) => node.cri.call('CheckpointContainer', {container_id: container.id, location, timeout: 300, ...more});
    await refused(save({location: 'relative'}), 'INVALID_ARGUMENT', 'not absolute');
    await refused(save({location: `${location}/`}), 'INVALID_ARGUMENT', 'does not name a file');
    await refused(save({location: path.join(node.dir, 'none/archive')}), 'NOT_FOUND', 'none');
    await refused(save({timeout: -1}), 'INVALID_ARGUMENT', 'timeout');
    await refused(save({container_id: 'none'}), 'NOT_FOUND', 'none');
    await refused(save({container_id: (await node.create(pod)).id}), 'FAILED_PRECONDITION', 'is not running');
    assert.deepStrictEqual(fs.readdirSync(path.dirname(location)), []);

    await save();
    const last = numbers(container).length;
    assert.strictEqual(fs.statSync(location).mode & 0o777, 0o600);
    assert.deepStrictEqual(must('tar', '-tf', location).trim().split('\n').sort(), FILES);
    assert.deepStrictEqual(fs.readdirSync(path.join(node.stateDir, 'checkpoint-archives')), []);
    await refused(save(), 'ALREADY_EXISTS', location);
    await eventually('the saved pod counts on', () => numbers(container).length > last + 2);
    assert.strictEqual(await node.output(other, 'echo inside'), 'inside');
    await refused(node.create(pod, {image: {image: location}}), 'INVALID_ARGUMENT', 'RestorePod', `crivirt restore ${location}`);
    await node.removePod(pod);

    const {pod: restored, containers: [one]} = await restore(location, [container]);
    assert.deepStrictEqual((await node.cri.call('ListContainers', {filter: {pod_sandbox_id: restored.id}})).containers.map(({id}) => id), [one.id]);
    await start(one);
    await eventually('it counts', () => fs.existsSync(one.log) && numbers(one).length > 2);
    assert.ok(numbers(one)[0] <= last + 1);
    assert.deepStrictEqual(fs.readdirSync(path.join(node.stateDir, 'checkpoint-archives')), []);
});

test('CheckpointContainer gives up at its timeout or deadline, and an archive that is cut or is none is refused', async () => {
    const {cri} = node;
    const pod = await node.runPod();
    const container = await node.runContainer(pod, COUNTER);
    const folder = directory();
    for (let ms = 20; ms < 400; ms += 60)
        await cri.call('CheckpointContainer', {container_id: container.id, location: path.join(folder, `${ms}`)}, ms).catch(() => {});
    await eventually('none is under way', () => fs.readdirSync(path.join(node.stateDir, 'checkpoint-archives')).length === 0);
    const kept = fs.readdirSync(folder);
    const location = path.join(folder, 'whole');
    await cri.call('CheckpointContainer', {container_id: container.id, location});
    assert.deepStrictEqual(fs.readdirSync(folder).sort(), [...kept, 'whole'].sort());
    assert.deepStrictEqual(fs.readdirSync(path.join(node.stateDir, 'checkpoint-archives')), []);
    await node.removePod(pod);

    fs.truncateSync(location, fs.statSync(location).size - (1 << 20));
    await refused(restore(location, [container]), 'DATA_LOSS', 'the archive is damaged');
    fs.writeFileSync(location, 'text');
    await refused(restore(location, [container]), 'INVALID_ARGUMENT', 'is not an archive of a checkpoint');
    assert.deepStrictEqual(fs.readdirSync(path.join(node.stateDir, 'checkpoint-archives')), []);
    assert.deepStrictEqual(await node.listedPodIds(), []);
});

test('crivirt checkpoint --container and restore make a pod that goes on', async () => {
    const archive = path.join(directory(), 'archive.tar');
    const crivirt = (...words) => must(programs.crivirt, '--socket', node.socket, '--log-dir', path.join(node.dir, 'archive-logs'), ...words).trim();
    crivirt('run', '-d', '--name', 'saved', BUSYBOX, 'sh', '-c', COUNTER);
    await eventually('it counts', () => crivirt('logs', 'saved').split('\n').length > 3);
    assert.strictEqual(crivirt('checkpoint', '--container', 'saved', archive), archive);
    crivirt('rm', '-f', 'saved');
    crivirt('restore', '--name', 'restored', archive);
    await eventually('it counts on', () => crivirt('logs', 'restored').split('\n').length > 3);
    assert.ok(Number(crivirt('logs', 'restored').split('\n')[0]) > 3);
    crivirt('rm', '-f', 'restored');
    fs.writeFileSync(archive, 'text');
    assert.match((await command(programs.crivirt, ['--socket', node.socket, 'restore', archive])).stderr, /is not a checkpoint/);
});
