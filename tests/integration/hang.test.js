'use strict';
// A guest that hangs: QEMU stopped, which its agent, libvirt and the daemon see as silence.
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually, refused} = require('./support/kit');

let machine, other, neighbour;
before(async () => {
    machine = await Machine.start({flags: ['--agent-timeout=20s']});
    other = await machine.runPod();
    neighbour = await machine.runContainer(other);
});
after(() => machine.end());

async function hanging() {
    const pod = await machine.runPod();
    const container = await machine.runContainer(pod, 'echo begun; exec sleep 100000');
    const qemu = machine.qemuPid(pod);
    process.kill(qemu, 'SIGSTOP');
    return {pod, container, qemu};
}

async function dead({pod, container}) {
    const end = await machine.ended(container);
    assert.deepStrictEqual([end.exit_code, end.reason], [255, 'Unknown']);
    assert.strictEqual((await machine.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    await eventually('QEMU is gone', () => !machine.qemuPid(pod));
    await machine.removePod(pod);
    assert.deepStrictEqual(machine.strays([other.id]), []);
    return end;
}

test('a guest that hangs for a while fails calls quickly, with the agent named, and is as before afterwards', async () => {
    const {pod, container, qemu} = await hanging();
    await refused(machine.exec(container, 'true'), 'UNAVAILABLE', 'agent', 'does not answer');
    await refused(machine.exec(container, 'true'), 'UNAVAILABLE', 'agent', 'does not answer');
    assert.strictEqual(await machine.output(neighbour, 'echo well'), 'well');
    process.kill(qemu, 'SIGCONT');
    await eventually('it answers', () => machine.exec(container, 'true').then(() => true, () => false));
    assert.strictEqual((await machine.podStatus(pod)).state, 'SANDBOX_READY');
    assert.strictEqual((await machine.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await machine.removePod(pod);
});

test('a guest that hangs for good is ended, and its sandbox not ready: the pod can be made again', async () => {
    const one = await hanging();
    assert.match((await dead(one)).message, /agent does not answer/);
    assert.strictEqual((await machine.podStatus(other)).state, 'SANDBOX_READY');
    assert.strictEqual(await machine.output(neighbour, 'echo well'), 'well');
});

test('a sandbox whose guest hangs is stopped and removed', async () => {
    const {pod, container} = await hanging();
    await machine.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    assert.strictEqual((await machine.containerStatus(container)).state, 'CONTAINER_EXITED');
    await machine.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
    assert.ok(!machine.qemuPid(pod));
});

test('a container is not made in a guest that hangs: the call ends with the guest, and says so', async () => {
    const one = await hanging();
    await assert.rejects(machine.create(one.pod), ({details}) => /guest|agent|sandbox/.test(details));
    await dead(one);
});

test('a guest that hangs while the daemon is dead does not keep the next one from starting', async () => {
    const one = await hanging();
    await machine.restartDaemon('SIGKILL');
    await dead(one);
    assert.strictEqual((await machine.podStatus(other)).state, 'SANDBOX_READY');
    assert.strictEqual(await machine.output(neighbour, 'echo well'), 'well');
});
