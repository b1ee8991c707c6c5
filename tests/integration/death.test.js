'use strict';
// What dies by itself: QEMU, a guest that never speaks, the daemon. (A guest's panic is tested in vmm_test: no container
// can cause one, not even a privileged one.)
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually, refused} = require('./support/kit');

let machine;
before(async () => { machine = await Machine.start(); });
after(() => machine.end());

// A pod with a container, something that ends its guest, and what the node then says of it.
async function dies(kill) {
    const pod = await machine.runPod();
    // The file server of the volumes ends with its guest, which is not what is to be told.
    const container = await machine.runContainer(pod, {mounts: [{container_path: '/v', host_path: machine.logDir}]});
    await kill(pod, container);
    const end = await machine.ended(container);
    assert.notStrictEqual(end.exit_code, 0);
    assert.notStrictEqual(end.reason, 'Completed');
    assert.match(end.message, /virtual machine/);
    await eventually('the sandbox is not ready', async () => (await machine.podStatus(pod)).state === 'SANDBOX_NOTREADY');
    await refused(machine.create(pod), 'FAILED_PRECONDITION', pod.id);
    await refused(machine.exec(container, 'true'), 'FAILED_PRECONDITION');
    await machine.cri.call('StopContainer', {container_id: container.id, timeout: 30});
    await machine.removePod(pod);
    await machine.noLeaks();
}

test('QEMU killed: the sandbox is not ready, its container ended in an unknown way, and both are removed', () =>
    dies(async (pod) => process.kill(machine.qemuPid(pod), 'SIGKILL')));

test('QEMU killed while the daemon is dead is seen by the next one', async () => {
    const pod = await machine.runPod();
    const container = await machine.runContainer(pod);
    const other = await machine.runPod();
    const qemu = machine.qemuPid(pod);
    await machine.stopDaemon('SIGKILL');
    process.kill(qemu, 'SIGKILL');
    await machine.startDaemon();
    assert.notStrictEqual((await machine.ended(container)).exit_code, 0);
    assert.strictEqual((await machine.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    assert.strictEqual((await machine.podStatus(other)).state, 'SANDBOX_READY');
    await machine.removePod(pod);
    await machine.removePod(other);
    await machine.noLeaks();
});

test('pods run on while the daemon is killed or stopped, and the next one has them as they were', async () => {
    const pod = await machine.runPod();
    const container = await machine.runContainer(pod, 'echo before; while :; do sleep 0.2; done');
    const before = await machine.podStatus(pod);
    for (const signal of ['SIGKILL', 'SIGTERM']) {
        await machine.restartDaemon(signal);
        assert.deepStrictEqual(await machine.podStatus(pod), before);
        assert.strictEqual((await machine.containerStatus(container)).state, 'CONTAINER_RUNNING');
        assert.strictEqual(await machine.output(container, 'echo inside'), 'inside');
        const more = await machine.runContainer(pod, 'exit 7');
        assert.strictEqual((await machine.ended(more)).exit_code, 7);
    }
    await machine.cri.call('StopContainer', {container_id: container.id, timeout: 0});
    assert.deepStrictEqual(machine.logLines(container).map(({text}) => text), ['before']);
    await machine.removePod(pod);
    await machine.noLeaks();
});

test('a container that ends while the daemon is dead has its exit code, and the rest of its log', async () => {
    const pod = await machine.runPod();
    const container = await machine.runContainer(pod, 'sleep 1; echo last words; exit 9');
    await machine.stopDaemon('SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await machine.startDaemon();
    assert.strictEqual((await machine.ended(container)).exit_code, 9);
    assert.deepStrictEqual(machine.logLines(container).map(({text}) => text), ['last words']);
    await machine.removePod(pod);
});

test('a guest that never speaks is given up after the boot time-out, with the end of its console', async () => {
    const initrd = path.join(machine.dir, 'broken-initrd');
    fs.writeFileSync(initrd, 'this is no initramfs');
    fs.chmodSync(initrd, 0o644);
    const broken = await Machine.start({initrd, image: false, flags: ['--boot-timeout=20s']});
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
