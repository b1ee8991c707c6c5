// SPDX-License-Identifier: Apache-2.0
'use strict';
// The disk of the logs is full or hangs. No byte is lost; the containers that write to it wait, and nothing else does.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {eventually, remains, must} = require('./support/kit');

let node, other, chatty, small, frozen;
before(async () => {
    node = await Node.start();
    small = path.join(node.dir, 'small');
    frozen = path.join(node.dir, 'frozen');
    for (const directory of [small, frozen])
        fs.mkdirSync(directory);
    must('mount', '-t', 'tmpfs', '-o', 'size=1m', 'crivirt-test', small);
    must('truncate', '-s', '16M', `${node.dir}/frozen.img`);
    must('mkfs.ext4', '-q', `${node.dir}/frozen.img`);
    must('mount', '-o', 'loop', `${node.dir}/frozen.img`, frozen);
    node.mounts.push(small, frozen);
    other = await node.runPod();
    chatty = await node.runContainer(other, 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done');
});
after(async () => {
    for (const directory of [small, frozen])
        must('umount', directory);
    node.mounts.length = 0;
    await node.end();
});

afterEach(() => {
    for (const name of fs.readdirSync(small))
        fs.rmSync(path.join(small, name), {recursive: true});
});

const texts = (container, file) => node.logTexts(container, file);
const isRunning = async (container) => (await node.containerStatus(container)).state === 'CONTAINER_RUNNING';
const upTo = (last) => [...Array(last).keys()].map((i) => String(i + 1));

// The container of the other pod logs and takes commands.
async function othersDoNotWait() {
    const known = texts(chatty).length;
    await eventually('the other pod logs', () => texts(chatty).length > known + 5);
    assert.strictEqual(await node.output(chatty, 'echo inside'), 'inside');
}

// What was not written is lost with the pod, and the daemon's log reports it.
function reportedAsLost({id}) {
    const lines = node.daemonLog().split('\n').filter((line) => line.includes(id) && /[1-9]\d* bytes .* are lost/.test(line));
    assert.strictEqual(lines.length, 1);
}

test('a full log disk holds up the container that writes, loses nothing, and takes output again once there is space', async () => {
    const pod = await node.runPod({log_directory: small});
    const container = await node.runContainer(pod, 'seq 1 100000');
    const parts = [];
    for (let round = 0; round < 20; round++) {
        const done = await eventually('the disk is full, or all is written', async () =>
            fs.statSync(container.log).size > 900000 && 'full'
            || (await node.containerStatus(container)).state === 'CONTAINER_EXITED' && 'all');
        if (done === 'all')
            break;
        await remains('the container runs', () => isRunning(container), 1000);
        await othersDoNotWait();
        // As the kubelet rotates.
        const old = `${container.log}.${round}`;
        fs.renameSync(container.log, old);
        await node.cri.call('ReopenContainerLog', {container_id: container.id});
        parts.push(...texts(container, old));
        fs.rmSync(old);
    }
    assert.strictEqual((await node.ended(container)).exit_code, 0);
    assert.ok(parts.length > 0, 'the disk was never full');
    assert.deepStrictEqual([...parts, ...texts(container)], upTo(100000));
    await node.removePod(pod);
});

test('a full log disk delays neither the removal of the pod nor the start of a daemon', async () => {
    const pod = await node.runPod({log_directory: small});
    const container = await node.runContainer(pod, 'yes');
    await eventually('the disk is full', () => fs.statSync(container.log).size > 900000);
    await node.restartDaemon('SIGKILL');
    await othersDoNotWait();
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await node.removePod(pod);
    reportedAsLost(container);
    for (const line of node.logLines(container)) // no half a line
        assert.deepStrictEqual([line.text, line.tag], ['y', 'F']);
});

test('a log disk that hangs holds up all containers that write to it, and no other', async () => {
    const pod = await node.runPod({log_directory: frozen});
    const writers = [];
    for (let i = 0; i < 6; i++)
        writers.push(await node.runContainer(pod, 'while [ ! -e /go ]; do sleep 0.2; done; seq 1 3000'));
    must('fsfreeze', '--freeze', frozen);
    try {
        for (const one of writers)
            await node.exec(one, 'touch /go');
        const size = () => writers.reduce((sum, one) => sum + fs.statSync(one.log).size, 0);
        const before = size();
        await remains('nothing reaches the disk', () => size() === before, 1000);
        await othersDoNotWait();
    } finally {
        must('fsfreeze', '--unfreeze', frozen);
    }
    for (const one of writers) {
        assert.strictEqual((await node.ended(one)).exit_code, 0);
        assert.deepStrictEqual(texts(one), upTo(3000));
    }
    await node.removePod(pod);
});

test('a pod whose log disk hangs can be stopped and removed, and its name is free for the next pod', async () => {
    const pod = await node.runPod({log_directory: frozen});
    const container = await node.runContainer(pod, 'yes');
    await eventually('it writes', () => fs.statSync(container.log).size > 10000);
    must('fsfreeze', '--freeze', frozen);
    try {
        const {size} = fs.statSync(container.log);
        await remains('nothing reaches the disk', () => fs.statSync(container.log).size === size, 1000);
        await node.removePod(pod);
        reportedAsLost(container);
        await othersDoNotWait();
        assert.deepStrictEqual(node.orphans([other.id]), []);
        const {pod_sandbox_id: next} = await node.cri.call('RunPodSandbox', {config: pod.config});
        await node.removePod({id: next});
    } finally {
        must('fsfreeze', '--unfreeze', frozen);
    }
    for (const line of node.logLines(container))
        assert.deepStrictEqual([line.text, line.tag], ['y', 'F']);
});
