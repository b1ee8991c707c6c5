// SPDX-License-Identifier: Apache-2.0
'use strict';
// What dies by itself: QEMU, a guest that never speaks, the daemon. (A guest's panic is tested in vmm_test: no container
// can cause one, not even a privileged one.)
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {eventually, refused} = require('./support/kit');

let node;
before(async () => { node = await Node.start(); });
after(() => node.end());

// A pod with a container, something that ends its guest, and what the node then says of it.
async function dies(kill) {
    const pod = await node.runPod();
    // The file server of the volumes ends with its guest, which is not what is to be told.
    const container = await node.runContainer(pod, {mounts: [{container_path: '/v', host_path: node.logDir}]});
    await kill(pod, container);
    const end = await node.ended(container);
    assert.notStrictEqual(end.exit_code, 0);
    assert.notStrictEqual(end.reason, 'Completed');
    assert.match(end.message, /virtual machine/);
    await eventually('the sandbox is not ready', async () => (await node.podStatus(pod)).state === 'SANDBOX_NOTREADY');
    await refused(node.create(pod), 'FAILED_PRECONDITION', pod.id);
    await refused(node.exec(container, 'true'), 'FAILED_PRECONDITION');
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 30});
    await node.removePod(pod);
    await node.noLeaks();
}

test('QEMU killed: the sandbox is not ready, its container ended in an unknown way, and both are removed', () =>
    dies(async (pod) => process.kill(node.qemuPid(pod), 'SIGKILL')));

test('QEMU killed while the daemon is dead is seen by the next one', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod);
    const other = await node.runPod();
    const qemu = node.qemuPid(pod);
    await node.stopDaemon('SIGKILL');
    process.kill(qemu, 'SIGKILL');
    await node.startDaemon();
    assert.notStrictEqual((await node.ended(container)).exit_code, 0);
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    assert.strictEqual((await node.podStatus(other)).state, 'SANDBOX_READY');
    await node.removePod(pod);
    await node.removePod(other);
    await node.noLeaks();
});

test('pods run on while the daemon is killed or stopped, and the next one has them as they were', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, 'echo before; while :; do sleep 0.2; done');
    const before = await node.podStatus(pod);
    for (const signal of ['SIGKILL', 'SIGTERM']) {
        await node.restartDaemon(signal);
        assert.deepStrictEqual(await node.podStatus(pod), before);
        assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
        assert.strictEqual(await node.output(container, 'echo inside'), 'inside');
        const more = await node.runContainer(pod, 'exit 7');
        assert.strictEqual((await node.ended(more)).exit_code, 7);
    }
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 0});
    assert.deepStrictEqual(node.logLines(container).map(({text}) => text), ['before']);
    await node.removePod(pod);
    await node.noLeaks();
});

test('a container that ends while the daemon is dead has its exit code, and the rest of its log', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, 'sleep 1; echo last words; exit 9');
    await node.stopDaemon('SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await node.startDaemon();
    assert.strictEqual((await node.ended(container)).exit_code, 9);
    assert.deepStrictEqual(node.logLines(container).map(({text}) => text), ['last words']);
    await node.removePod(pod);
});

test('a guest that never speaks is given up after the boot time-out, with the end of its console', async () => {
    const initrd = path.join(node.dir, 'broken-initrd');
    fs.writeFileSync(initrd, 'this is no initramfs');
    fs.chmodSync(initrd, 0o644);
    const broken = await Node.start({initrd, image: false, flags: ['--boot-timeout=20s']});
    try {
        const refusal = await refused(broken.runPod(), 'UNAVAILABLE').catch(() => null) ??
            await broken.runPod().then(() => null, (error) => error);
        assert.ok(refusal, 'it booted');
        assert.match(refusal.details, /did not boot|virtual machine/);
        assert.match(refusal.details, /console/);
        assert.match(refusal.details, /[Pp]anic|init|root/);
        assert.deepStrictEqual((await broken.cri.call('ListPodSandbox')).items, []);
        await broken.noLeaks();
    } finally {
        await broken.end();
    }
});
