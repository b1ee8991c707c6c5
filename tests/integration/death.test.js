// SPDX-License-Identifier: Apache-2.0
'use strict';
// QEMU dies, a guest never answers, the daemon dies. (A guest's panic is tested in guest.test.js: no container can cause one, not
// even a privileged one.)
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {eventually, failure, refused} = require('./support/kit');

let node;
before(async () => { node = await Node.start(); });
after(() => node.end());

// Runs a pod with a container, ends its guest by kill(pod, container), and checks what the daemon then reports.
async function dies(kill) {
    const pod = await node.runPod();
    // The file server of the volumes ends with its guest; the status must name the guest's end, not that.
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

test('a sandbox whose QEMU is killed is NOTREADY, its container has exited as Unknown, and both can be removed', () =>
    dies(async (pod) => process.kill(node.qemuPid(pod), 'SIGKILL')));

test('a daemon notices at its start that a QEMU was killed while no daemon ran', async () => {
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

test('pods run on while the daemon is killed or stopped, and the next daemon reports them unchanged', async () => {
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
    assert.deepStrictEqual(node.logTexts(container), ['before']);
    await node.removePod(pod);
    await node.noLeaks();
});

test('a container that ends while no daemon runs keeps its exit code and the rest of its log', async () => {
    const pod = await node.runPod();
    const volume = path.join(node.dir, 'signals');
    fs.mkdirSync(volume);
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'until [ -e /signals/dead ]; do sleep 0.1; done; echo last words; touch /signals/ends; exit 9'],
        mounts: [{container_path: '/signals', host_path: volume}],
    });
    await node.stopDaemon('SIGKILL');
    fs.writeFileSync(path.join(volume, 'dead'), '');
    await eventually('the container ends', () => fs.existsSync(path.join(volume, 'ends')));
    await node.startDaemon();
    assert.strictEqual((await node.ended(container)).exit_code, 9);
    assert.deepStrictEqual(node.logTexts(container), ['last words']);
    await node.removePod(pod);
});

test('RunPodSandbox reports at once what QEMU wrote when QEMU ends at its start', async () => {
    const kernel = path.join(node.dir, 'kernel-of-root');
    fs.copyFileSync(path.join(node.guest, 'kernel'), kernel);
    fs.chmodSync(kernel, 0o600); // crivirtd can read it, and QEMU's user cannot
    const own = await Node.start({image: false, flags: [`--guest-kernel=${kernel}`]});
    try {
        const {details} = await refused(own.runPod(), 'UNAVAILABLE', 'could not open kernel file', 'Permission denied');
        assert.doesNotMatch(details, /tainted|shutting down|console/);
    } finally {
        await own.end();
    }
});

test('RunPodSandbox gives up a guest that never answers after the boot time-out, and quotes the end of its console', async () => {
    const initrd = path.join(node.dir, 'broken-initrd');
    fs.writeFileSync(initrd, 'this is no initramfs');
    fs.chmodSync(initrd, 0o644);
    const broken = await Node.start({initrd, image: false, flags: ['--boot-timeout=20s']});
    try {
        const refusal = await refused(broken.runPod(), 'UNAVAILABLE').catch(() => null) ?? await failure(broken.runPod());
        assert.match(refusal.details, /did not boot|virtual machine/);
        assert.match(refusal.details, /console/);
        assert.match(refusal.details, /[Pp]anic|init|root/);
        assert.deepStrictEqual((await broken.cri.call('ListPodSandbox')).items, []);
        await broken.noLeaks();
    } finally {
        await broken.end();
    }
});
