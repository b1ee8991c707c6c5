// SPDX-License-Identifier: Apache-2.0
'use strict';
// The disk that the logs are on is full, or hangs: no byte is lost, what writes waits, and nobody else does.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {sleep, eventually, must} = require('./support/kit');

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

const texts = (container, file) => node.logLines(container, file).map(({text}) => text);
const upTo = (last) => [...Array(last).keys()].map((i) => String(i + 1));

// The other pod's container is heard, and obeys.
async function nobodyElseWaits() {
    const known = texts(chatty).length;
    await eventually('the other pod is heard', () => texts(chatty).length > known + 5);
    assert.strictEqual(await node.output(chatty, 'echo inside'), 'inside');
}

// What was not written is lost with the pod, and the daemon's log says so.
function saidToBeLost({id}) {
    const lines = node.daemonLog().split('\n').filter((line) => line.includes(id) && /[1-9]\d* bytes .* are lost/.test(line));
    assert.strictEqual(lines.length, 1);
}

test('a full log disk holds up what writes, loses nothing, and goes on when there is space', async () => {
    const pod = await node.runPod({log_directory: small});
    const container = await node.runContainer(pod, 'seq 1 100000');
    const parts = [];
    for (let round = 0; round < 20; round++) {
        const done = await eventually('the disk is full, or all is written', async () =>
            fs.statSync(container.log).size > 900000 && 'full'
            || (await node.containerStatus(container)).state === 'CONTAINER_EXITED' && 'all');
        if (done === 'all')
            break;
        await sleep(1000);
        assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
        await nobodyElseWaits();
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

test('a full log disk holds nothing up that is killed with its pod, nor a daemon that starts', async () => {
    for (const name of fs.readdirSync(small))
        fs.rmSync(path.join(small, name));
    const pod = await node.runPod({log_directory: small});
    const container = await node.runContainer(pod, 'yes');
    await eventually('the disk is full', () => fs.statSync(container.log).size > 900000);
    await node.restartDaemon('SIGKILL');
    await nobodyElseWaits();
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await node.removePod(pod);
    saidToBeLost(container);
    for (const line of node.logLines(container)) // no half a line
        assert.deepStrictEqual([line.text, line.tag], ['y', 'F']);
});

test('a log disk that hangs holds up what writes there, however many they are, and nobody else', async () => {
    const pod = await node.runPod({log_directory: frozen});
    const writers = [];
    for (let i = 0; i < 6; i++)
        writers.push(await node.runContainer(pod, 'while [ ! -e /go ]; do sleep 0.2; done; seq 1 3000'));
    must('fsfreeze', '--freeze', frozen);
    try {
        for (const one of writers)
            await node.exec(one, 'touch /go');
        await sleep(1000);
        await nobodyElseWaits();
    } finally {
        must('fsfreeze', '--unfreeze', frozen);
    }
    for (const one of writers) {
        assert.strictEqual((await node.ended(one)).exit_code, 0);
        assert.deepStrictEqual(texts(one), upTo(3000));
    }
    await node.removePod(pod);
});

test('a pod whose log disk hangs is stopped and removed all the same, and its name and node are free for the next', async () => {
    const pod = await node.runPod({log_directory: frozen});
    const container = await node.runContainer(pod, 'yes');
    await eventually('it writes', () => fs.statSync(container.log).size > 10000);
    must('fsfreeze', '--freeze', frozen);
    try {
        await sleep(1000);
        await node.removePod(pod);
        saidToBeLost(container);
        await nobodyElseWaits();
        assert.deepStrictEqual(node.orphans([other.id]), []);
        const {pod_sandbox_id: next} = await node.cri.call('RunPodSandbox', {config: pod.config});
        await node.removePod({id: next});
    } finally {
        must('fsfreeze', '--unfreeze', frozen);
    }
    for (const line of node.logLines(container))
        assert.deepStrictEqual([line.text, line.tag], ['y', 'F']);
});
