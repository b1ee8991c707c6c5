// SPDX-License-Identifier: Apache-2.0
'use strict';
// Whoever waits for something that cannot come learns the cause at once: a QEMU that is killed, a node without disk space or
// memory, file servers that do not start, a VM of the pool that is dead. (The end of QEMU at its start, and that of a guest
// which never boots: death.test.js.)
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {startCrashingNode, points} = require('./support/crash');
const {programs} = require('./support/environment');
const {Node} = require('./support/node');
const {eventually, failure, hierarchies, must, refused} = require('./support/kit');
const {status} = require('./support/cri');

const DISK_IS_FULL = "the node's disk is full: ";

let node;
before(async () => { node = await Node.start(); });
after(() => node.end());
const clean = (t) => t.after(() => node.removeAllPods()); // so that a failure does not fail the next tests, too

// Starts a command in the container; {outcome}: a promise of the error of the call, or of null.
async function running(container, script) {
    const outcome = node.exec(container, `touch /started; ${script}`).then(() => null, (error) => error);
    await eventually('the command runs', async () => (await node.exec(container, '[ -e /started ]')).exit_code === 0);
    return {outcome};
}

// The cgroup of pods, as the kubelet makes and removes it.
const PARENT = `/crivirt-errors-${process.pid}`;
function removeParent() {
    for (const root of hierarchies())
        if (fs.existsSync(`${root}${PARENT}`))
            fs.rmdirSync(`${root}${PARENT}`);
}

// ---- QEMU is killed ----

for (const [signal, words] of [['SIGKILL', 'signal 9 (Killed)'], ['SIGSYS', 'signal 31 (Bad system call)']])
    test(`a call that waits for the guest ends with the signal when QEMU is killed by ${signal}`, async (t) => {
        clean(t);
        const pod = await node.runPod();
        const container = await node.runContainer(pod);
        const {outcome} = await running(container, 'sleep 100000');
        process.kill(node.qemuPid(pod), signal);
        const error = await outcome;
        assert.strictEqual(error.code, status.UNAVAILABLE, error.details);
        assert.ok(error.details.includes(`QEMU was killed by ${words}`), error.details);
        assert.ok((await node.ended(container)).message.includes(words));
        await refused(node.create(pod), 'FAILED_PRECONDITION', words);
        await node.removePod(pod);
    });

test('the end of a VM that the kernel has killed for lack of memory is reported as that', async (t) => {
    const pod = await node.runPod({linux: {cgroup_parent: PARENT}});
    t.after(async () => {
        await node.removeAllPods();
        removeParent();
    });
    const container = await node.runContainer(pod);
    const own = hierarchies().map((root) => `${root}${PARENT}/crivirt-${pod.id.slice(0, 24)}`);
    const [limit, usage] = own.flatMap((one) => [
        [`${one}/memory.limit_in_bytes`, `${one}/memory.usage_in_bytes`], [`${one}/memory.max`, `${one}/memory.current`],
    ]).find((files) => files.every((file) => fs.existsSync(file)));
    fs.writeFileSync(limit, String(Number(fs.readFileSync(usage, 'utf8')) + (8 << 20)));
    const error = await failure(node.exec(container, 'dd if=/dev/zero of=/dev/shm/much bs=1M count=60; dd if=/dev/zero of=/tmp/much bs=1M count=60'));
    assert.strictEqual(error.code, status.UNAVAILABLE, error.details);
    assert.match(error.details, /for lack of memory/);
    assert.match((await node.ended(container)).message, /for lack of memory/);
});

// ---- the node's disk is full ----

// A node whose pods have a small file system of their own for their writable disks, and fill(), which leaves no space in it.
async function startSmallNode() {
    const small = await Node.start();
    const pods = path.join(small.stateDir, 'pods');
    const ballast = path.join(pods, 'ballast');
    fs.mkdirSync(pods, {recursive: true});
    must('mount', '-t', 'tmpfs', '-o', 'size=48m,mode=0711', 'crivirt-test', pods);
    small.mounts.push(pods);
    return {
        small,
        fill: () => {
            const file = fs.openSync(ballast, 'w');
            for (const bytes of [1 << 20, 4096])
                try {
                    for (;;)
                        fs.writeSync(file, Buffer.alloc(bytes));
                } catch (error) {
                    assert.strictEqual(error.code, 'ENOSPC');
                }
            fs.closeSync(file);
        },
        empty: () => fs.rmSync(ballast, {force: true}),
        end: async () => {
            fs.rmSync(ballast, {force: true});
            await small.removeAllPods();
            must('umount', pods);
            small.mounts.length = 0;
            await small.end();
        },
    };
}

test('calls to a guest that waits for space on the node end with that reason, and the pod goes on when there is space', async () => {
    const disk = await startSmallNode();
    const {small} = disk;
    try {
        const pod = await small.runPod();
        const container = await small.runContainer(pod, 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done');
        const upper = `${DISK_IS_FULL}${small.stateDir}/pods/${pod.id.slice(0, 24)}/`;
        disk.fill();
        const writes = small.exec(container, 'dd if=/dev/zero of=/much bs=1M count=8 conv=fsync; sync');
        await refused(writes, 'UNAVAILABLE', upper);
        await refused(small.exec(container, 'true'), 'UNAVAILABLE', upper);
        await refused(small.cri.call('StopContainer', {container_id: container.id, timeout: 60}), 'UNAVAILABLE', upper);
        assert.strictEqual((await small.podStatus(pod)).state, 'SANDBOX_READY');
        assert.strictEqual((await small.containerStatus(container)).state, 'CONTAINER_RUNNING');
        assert.ok(small.daemonLog().includes(upper), 'the daemon has not logged it');
        disk.empty();
        await eventually('the guest runs again', () => small.output(container, 'echo inside').catch(() => null));
        const logged = small.logTexts(container).length;
        await eventually('the container goes on', () => small.logTexts(container).length > logged + 3);
        const more = await small.runContainer(pod, 'exit 7');
        assert.strictEqual((await small.ended(more)).exit_code, 7);
        await small.removePod(pod);
    } finally {
        await disk.end();
    }
});

test('a pod whose guest waits for space on the node can be stopped and removed, and the next daemon knows why it waits', async () => {
    const disk = await startSmallNode();
    const {small} = disk;
    try {
        const pod = await small.runPod();
        const container = await small.runContainer(pod);
        disk.fill();
        await refused(small.exec(container, 'dd if=/dev/zero of=/much bs=1M count=8 conv=fsync; sync'), 'UNAVAILABLE', DISK_IS_FULL);
        await small.restartDaemon('SIGKILL');
        await refused(small.exec(container, 'true'), 'UNAVAILABLE', DISK_IS_FULL);
        assert.strictEqual((await small.podStatus(pod)).state, 'SANDBOX_READY');
        await small.removePod(pod);
    } finally {
        await disk.end();
    }
});

// ---- programs that do not start ----

test('CreateContainer reports at once what virtiofsd wrote when it ends at its start', async () => {
    const script = path.join(node.dir, 'virtiofsd');
    fs.writeFileSync(script, '#!/bin/sh\necho "virtiofsd: no memory for the queues" >&2\nexit 1\n', {mode: 0o755});
    const within = `for f in /usr/lib/qemu/virtiofsd /usr/libexec/virtiofsd; do [ ! -e $f ] || mount --bind ${script} $f; done`;
    await Node.use({within}, async (own) => {
        const pod = await own.runPod();
        const mounts = [{container_path: '/v', host_path: own.logDir}];
        for (const unused of [1, 2])
            await refused(own.create(pod, {mounts}), 'UNAVAILABLE', 'virtiofsd', 'virtiofsd: no memory for the queues');
        const without = await own.runContainer(pod, 'exit 7');
        assert.strictEqual((await own.ended(without)).exit_code, 7);
    });
});

test('CreateContainer fails at once when fsguard ends at its start, and the pod goes on', async () => {
    const script = path.join(node.dir, 'fsguard');
    fs.writeFileSync(script, '#!/bin/sh\nexit 1\n', {mode: 0o755});
    const fsguard = path.join(path.dirname(programs.crivirtd), '../libexec/crivirt-fsguard');
    await Node.use({within: `mount --bind ${script} ${fsguard}`}, async (own) => {
        const pod = await own.runPod();
        await refused(own.create(pod, {mounts: [{container_path: '/v', host_path: own.logDir}]}), 'UNAVAILABLE',
                      'cannot attach the volumes of sandbox');
        assert.strictEqual((await own.podStatus(pod)).state, 'SANDBOX_READY');
    });
});

test('RunPodSandbox names the kernel that is missing', async () => {
    const kernel = path.join(node.dir, 'kernel-that-goes');
    fs.copyFileSync(path.join(node.guest, 'kernel'), kernel);
    await Node.use({image: false, flags: [`--guest-kernel=${kernel}`]}, async (own) => {
        fs.rmSync(kernel);
        await refused(own.runPod(), 'INTERNAL', kernel, 'No such file');
    });
});

// ---- the pool ----

test('a pod whose VM of the pool dies before the pod has it gets another one, and the template is kept', async () => {
    const crashing = await startCrashingNode({templates: true, image: false, flags: ['--guest-vm-pool-size=1']});
    const {node: own} = crashing;
    const isResume = (name) => name.startsWith('virDomainResume');
    const config = {linux: {cgroup_parent: PARENT}};
    try {
        const report = async () => JSON.parse((await own.cri.call('Status', {verbose: true})).info.templates);
        const full = () => eventually('the VM pool is full', async () => (await report()).vmPool === 1);
        await full();
        const names = await crashing.record(async () => own.removePod(await own.runPod(config)));
        const before = names.slice(0, names.findIndex(isResume));
        for (const {name, point} of points(before, 6)) {
            await full();
            const [id] = fs.readdirSync(path.join(own.stateDir, 'guests'));
            const qemu = own.qemuPid({id});
            let pod, isRunning;
            const {error} = await crashing.during(point, async () => { pod = await own.runPod(config); }, async () => {
                process.kill(qemu, 'SIGKILL');
                await eventually('QEMU is gone', () => !fs.existsSync(`/proc/${qemu}`));
                isRunning = crashing.names().some(isResume);
            });
            // CNI runs beside it, so that the guest may have been running at that point already, and may have been the pod's.
            if (isRunning && error !== null) {
                assert.match(error.details, /signal 9/);
                continue;
            }
            assert.strictEqual(error, null, `${name}: ${error?.details}`);
            assert.strictEqual(JSON.parse((await own.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true})).info.start),
                               'restored', name);
            await own.removePod(pod);
            assert.strictEqual((await report()).ready, 1, name);
        }
        await own.noLeaks();
    } finally {
        await crashing.end();
        removeParent();
    }
});
