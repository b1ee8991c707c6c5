// SPDX-License-Identifier: Apache-2.0
'use strict';
// A guest hangs: its QEMU is stopped by a signal, so that neither the agent nor QEMU's monitor answers.
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {eventually, refused} = require('./support/kit');

let node, other, neighbour;
before(async () => {
    node = await Node.start({flags: ['--agent-timeout=20s']});
    other = await node.runPod();
    neighbour = await node.runContainer(other);
});
after(() => node.end());

async function hanging() {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, 'echo begun; exec sleep 100000');
    const qemu = node.qemuPid(pod);
    process.kill(qemu, 'SIGSTOP');
    return {pod, container, qemu};
}

async function dead({pod, container}) {
    const end = await node.ended(container);
    assert.deepStrictEqual([end.exit_code, end.reason], [255, 'Unknown']);
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    await eventually('QEMU is gone', () => !node.qemuPid(pod));
    await node.removePod(pod);
    assert.deepStrictEqual(node.orphans([other.id]), []);
    return end;
}

test('calls to a guest that hangs for a while fail soon and name the agent, and the guest works afterwards', async () => {
    const {pod, container, qemu} = await hanging();
    await refused(node.exec(container, 'true'), 'UNAVAILABLE', 'agent', 'does not answer');
    await refused(node.exec(container, 'true'), 'UNAVAILABLE', 'agent', 'does not answer');
    assert.strictEqual(await node.output(neighbour, 'echo well'), 'well');
    process.kill(qemu, 'SIGCONT');
    await eventually('the guest answers', () => node.exec(container, 'true').then(() => true, () => false));
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await node.removePod(pod);
});

test('a container that a guest starts after its StartContainer has failed is shown as running, and was started once', async () => {
    const pod = await node.runPod();
    const container = await node.create(pod, {command: ['/bin/sh', '-c', 'echo begun; exec sleep 100000']});
    const qemu = node.qemuPid(pod);
    process.kill(qemu, 'SIGSTOP');
    await refused(node.cri.call('StartContainer', {container_id: container.id}, 1500), 'DEADLINE_EXCEEDED');
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_CREATED');
    process.kill(qemu, 'SIGCONT');
    await eventually('it runs', async () => (await node.containerStatus(container)).state === 'CONTAINER_RUNNING');
    await refused(node.cri.call('StartContainer', {container_id: container.id}), 'FAILED_PRECONDITION', 'already running');
    assert.strictEqual(await node.firstLine(container), 'begun');
    assert.deepStrictEqual(node.logTexts(container), ['begun']);
    await node.removePod(pod);
});

test('a guest that hangs for good is ended and its sandbox is NOTREADY, while other pods work', async () => {
    const one = await hanging();
    assert.match((await dead(one)).message, /agent does not answer/);
    assert.strictEqual((await node.podStatus(other)).state, 'SANDBOX_READY');
    assert.strictEqual(await node.output(neighbour, 'echo well'), 'well');
});

test('a sandbox whose guest hangs can be stopped and removed', async () => {
    const {pod, container} = await hanging();
    await node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_EXITED');
    await node.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
    assert.ok(!node.qemuPid(pod));
});

test('CreateContainer in a guest that hangs fails when the guest is ended, and names it', async () => {
    const one = await hanging();
    await assert.rejects(node.create(one.pod), ({details}) => /guest|agent|sandbox/.test(details));
    await dead(one);
});

test('a guest that hangs while no daemon runs does not keep the next daemon from starting', async () => {
    const one = await hanging();
    await node.restartDaemon('SIGKILL');
    await dead(one);
    assert.strictEqual((await node.podStatus(other)).state, 'SANDBOX_READY');
    assert.strictEqual(await node.output(neighbour, 'echo well'), 'well');
});
